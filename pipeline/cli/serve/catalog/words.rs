//! Owns expressions that clients of PostgreSQL write and DataFusion does not plan, each as one that it does:
//! operators by their full names, casts to names of things, arrays in quotes. `rewrite` finds them.

use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, BinaryOperator, CastKind, DataType, Expr, Function, FunctionArguments, Ident,
    ObjectName, ObjectNamePart, Query, SelectItem, SetExpr, TableFactor, TableWithJoins, Value,
    ValueWithSpan,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

use crate::model::bounds;

/// The last part of a name, as it is looked up.
pub(super) fn last_part(name: &ObjectName) -> String {
    name.0.last().map_or_else(String::new, part)
}

pub(super) fn part(part: &ObjectNamePart) -> String {
    part.as_ident().map_or_else(String::new, value)
}

pub(super) fn value(ident: &Ident) -> String {
    if ident.quote_style.is_some() {
        ident.value.clone()
    } else {
        ident.value.to_ascii_lowercase()
    }
}

fn parser(text: &str) -> Option<Parser<'static>> {
    static DIALECT: PostgreSqlDialect = PostgreSqlDialect {};
    Parser::new(&DIALECT).try_with_sql(text).ok()
}

pub(super) fn expr_of(text: &str) -> Option<Expr> {
    // What was rewritten goes into what is: it must not grow beyond what is parsed in time.
    bounds::check(text).ok()?;
    parser(text)?.parse_expr().ok()
}

pub(super) fn query_of(text: &str) -> Option<Box<Query>> {
    parser(text)?.parse_query().ok()
}

pub(super) fn operator(name: &[String]) -> Option<BinaryOperator> {
    Some(match name.last()?.as_str() {
        "~" => BinaryOperator::PGRegexMatch,
        "~*" => BinaryOperator::PGRegexIMatch,
        "!~" => BinaryOperator::PGRegexNotMatch,
        "!~*" => BinaryOperator::PGRegexNotIMatch,
        "~~" => BinaryOperator::PGLikeMatch,
        "!~~" => BinaryOperator::PGNotLikeMatch,
        "=" => BinaryOperator::Eq,
        "<>" => BinaryOperator::NotEq,
        _ => return None,
    })
}

/// A pattern whose escapes are backslashes, which are all that the engine takes.
pub(super) fn escaped(pattern: &Expr, escape: Option<&ValueWithSpan>) -> Option<Expr> {
    let Value::SingleQuotedString(escape) = &escape?.value else {
        return None;
    };
    if escape.chars().count() != 1 || escape == "\\" || escape == "'" {
        return None;
    }
    expr_of(&format!(
        r"replace(replace({pattern}, '\', '\\'), '{escape}', '\')"
    ))
}

fn literal(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => Some(text),
            _ => None,
        },
        Expr::Nested(inner) => literal(inner),
        _ => None,
    }
}

/// A literal without parentheses or a cast around it.
pub(super) fn peeled(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Nested(inner) => peeled(inner),
        Expr::Cast { expr: inner, .. } => literal(inner),
        other => literal(other),
    }
}

/// `'{a,b}'` as an array of texts; what is quoted within it is left alone.
pub(super) fn array_of(text: &str) -> Option<Expr> {
    let inner = text.strip_prefix('{')?.strip_suffix('}')?;
    if inner.is_empty() || inner.contains(['"', '\\', '{']) {
        return None;
    }
    let item = |item: &str| format!("'{}'", item.trim().replace('\'', "''"));
    let items: Vec<String> = inner.split(',').map(item).collect();
    expr_of(&format!("ARRAY[{}]", items.join(", ")))
}

/// A cast to a type that is not the engine's.
pub(super) fn cast(inner: &Expr, data_type: &DataType, kind: &CastKind) -> Option<Expr> {
    let custom = match data_type {
        DataType::Regclass => Some("regclass".to_owned()),
        DataType::Custom(name, _) => Some(last_part(name)),
        _ => None,
    };
    match (custom, data_type) {
        (Some(name), _) => {
            let is_given = literal(inner).is_some() || is_placeholder(inner);
            let call = |function: &str| expr_of(&format!("{function}({inner})"));
            match name.as_str() {
                "regclass" if is_given => call("to_regclass"),
                "regclass" => call("pg_relation_name"),
                "regtype" if is_given => call("to_regtype"),
                "regtype" => expr_of(&format!("format_type({inner}, NULL)")),
                "regnamespace" if is_given => call("to_regnamespace"),
                "regnamespace" => call("pg_namespace_name"),
                "regrole" if is_given => call("to_regrole"),
                "regrole" => call("pg_get_userbyid"),
                "regproc" | "regprocedure" | "regoper" | "regoperator" => match literal(inner) {
                    Some(text) => {
                        let text = text.strip_prefix("pg_catalog.").unwrap_or(text);
                        expr_of(&format!("'{}'", text.replace('\'', "''")))
                    }
                    None => expr_of(&format!("CAST({inner} AS TEXT)")),
                },
                other => {
                    let known = match other {
                        "oid" | "xid" | "int8" => "BIGINT",
                        "int4" => "INT",
                        "int2" => "SMALLINT",
                        "float8" => "DOUBLE PRECISION",
                        "float4" => "REAL",
                        "bool" => "BOOLEAN",
                        "name"
                        | "text"
                        | "char"
                        | "varchar"
                        | "bpchar"
                        | "citext"
                        | "json"
                        | "jsonb"
                        | "information_schema.sql_identifier"
                        | "sql_identifier"
                        | "cardinal_number"
                        | "character_data" => "TEXT",
                        _ => return None,
                    };
                    let is_try = matches!(kind, CastKind::TryCast | CastKind::SafeCast);
                    let word = if is_try { "TRY_CAST" } else { "CAST" };
                    expr_of(&format!("{word}({inner} AS {known})"))
                }
            }
        }
        (_, DataType::Array(ArrayElemTypeDef::SquareBracket(..))) => array_of(literal(inner)?),
        _ => None,
    }
}

fn is_placeholder(expr: &Expr) -> bool {
    match expr {
        Expr::Value(value) => matches!(value.value, Value::Placeholder(_)),
        Expr::Cast { expr, .. } | Expr::Nested(expr) => {
            is_placeholder(expr) || literal(expr).is_some()
        }
        _ => false,
    }
}

/// `ARRAY(SELECT …)` as an aggregate of what is selected; it may hang on the row around it.
pub(super) fn array_query(function: &Function) -> Option<Expr> {
    let FunctionArguments::Subquery(query) = &function.args else {
        return None;
    };
    if last_part(&function.name) != "array" {
        return None;
    }
    let mut query = query.clone();
    let SetExpr::Select(select) = query.body.as_mut() else {
        return None;
    };
    // Options and rights are what is unnested here, and nothing has any.
    let unnests = |from: &TableWithJoins| match &from.relation {
        TableFactor::Table { name, args, .. } => args.is_some() && last_part(name) == "unnest",
        _ => false,
    };
    if select.from.iter().any(unnests) {
        return expr_of("CAST(NULL AS TEXT[])");
    }
    let [SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }] =
        select.projection.as_slice()
    else {
        return None;
    };
    let new = expr_of(&format!("array_agg({expr})"))?;
    select.projection = vec![SelectItem::UnnamedExpr(new)];
    query.order_by = None;
    Some(Expr::Subquery(query))
}

/// `array_upper(x, 1)`: arrays here begin at one, and the schemas that names are looked for in are known.
pub(super) fn array_upper(function: &Function) -> Option<Expr> {
    if last_part(&function.name) != "array_upper" {
        return None;
    }
    let text = function.args.to_string();
    let inner = text.strip_prefix('(')?.strip_suffix(')')?;
    match inner {
        "current_schemas(false), 1" => expr_of("1"),
        "current_schemas(true), 1" => expr_of("2"),
        other => expr_of(&format!("CAST(array_length({other}) AS BIGINT)")),
    }
}
