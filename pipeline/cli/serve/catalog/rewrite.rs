//! Owns how a query over PostgreSQL's catalogue becomes one that DataFusion plans: names of the schemas that it
//! looks in, casts to types that are names of things, and subqueries of forms that it does not know. A query
//! that is about nothing of it is left as it came.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Ident, ObjectName, Query, Select, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, Statement, TableAlias, TableFactor, VisitMut,
    VisitorMut,
};
use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
use datafusion::sql::sqlparser::parser::Parser;

use super::empty::is_without_rows;
use super::facts::DATABASE;
use super::nothing::{Hidden, aggregates, emptied, emptied_one, has_none, named};
use super::words::{
    array_of, array_query, array_upper, cast, escaped, expr_of, last_part, operator, part, peeled,
    query_of, value,
};

/// The text to plan instead of a query's own; `None` where that is fine as it is, or none at all.
pub(super) fn rewritten(sql: &str) -> Option<String> {
    let mut statements = Parser::parse_sql(&PostgreSqlDialect {}, sql).ok()?;
    let [statement @ Statement::Query(_)] = statements.as_mut_slice() else {
        return None;
    };
    let mut seen = Seen::default();
    let _ = VisitMut::visit(statement, &mut seen);
    let mut rewriting = Rewriting {
        is_about: seen.is_about,
        hidden: seen.hidden,
        is_changed: false,
    };
    let _ = VisitMut::visit(statement, &mut rewriting);
    rewriting.is_changed.then(|| statement.to_string())
}

/// What a statement is about, before anything of it changes.
#[derive(Default)]
struct Seen {
    is_about: bool,
    hidden: Hidden,
}

impl VisitorMut for Seen {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let own = query.with.iter().flat_map(|with| &with.cte_tables);
        self.hidden.extend(own.map(|own| value(&own.alias.name)));
        ControlFlow::Continue(())
    }

    fn pre_visit_relation(&mut self, name: &mut ObjectName) -> ControlFlow<()> {
        let parts: Vec<String> = name.0.iter().map(part).collect();
        self.is_about |= match parts.as_slice() {
            [one] => one.starts_with("pg_"),
            [.., schema, _] => schema == "pg_catalog" || schema == "information_schema",
            [] => false,
        };
        ControlFlow::Continue(())
    }
}

struct Rewriting {
    /// Whether a table of the catalogue is read.
    is_about: bool,
    hidden: Hidden,
    is_changed: bool,
}

impl Rewriting {
    fn become_(&mut self, expr: &mut Expr, new: Option<Expr>) {
        if let Some(new) = new {
            *expr = new;
            self.is_changed = true;
        }
    }

    fn unprefix(&mut self, name: &mut ObjectName) {
        if name.0.len() > 1
            && ["pg_catalog", "information_schema"].contains(&part(&name.0[0]).as_str())
        {
            name.0.remove(0);
            self.is_changed = true;
        }
    }
}

impl VisitorMut for Rewriting {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if self.is_about && has_none(query, &self.hidden) && emptied(query) {
            self.is_changed = true;
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        if self.is_about {
            self.is_changed |= emptied_one(select, &self.hidden);
            self.is_changed |= drop_repeated(select);
            self.is_changed |= name_columns(select);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table {
            name, alias, args, ..
        } = factor
        {
            if args.is_some() {
                self.unprefix(name);
                if last_part(name) == "pg_get_keywords" {
                    self.is_changed |= keywords(factor);
                }
                return ControlFlow::Continue(());
            }
            self.is_changed |= self.catalogues(name, alias);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let new = match expr {
            Expr::Subquery(query) if self.is_about && has_none(query, &self.hidden) => {
                expr_of("NULL")
            }
            Expr::Exists { subquery, negated }
                if self.is_about && has_none(subquery, &self.hidden) =>
            {
                expr_of(if *negated { "true" } else { "false" })
            }
            Expr::InSubquery {
                expr: asked,
                subquery,
                negated,
            } => {
                if self.is_about && has_none(subquery, &self.hidden) {
                    expr_of(if *negated { "true" } else { "false" })
                } else if subquery
                    .to_string()
                    .contains("current_setting('search_path')")
                {
                    // A way to say: in a schema that names are looked for in.
                    let not = if *negated { "NOT " } else { "" };
                    expr_of(&format!("({asked}) {not}IN ('public')"))
                } else {
                    None
                }
            }
            _ => None,
        };
        self.become_(expr, new);
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let new = match expr {
            Expr::Collate { expr: inner, .. } => Some(inner.as_ref().clone()),
            Expr::CompoundIdentifier(parts)
                if parts.len() > 2
                    && ["pg_catalog", "information_schema"]
                        .contains(&value(&parts[0]).as_str()) =>
            {
                parts.remove(0);
                self.is_changed = true;
                None
            }
            Expr::Identifier(ident)
                if ident.quote_style.is_none()
                    && ["current_schema", "current_role"].contains(&value(ident).as_str()) =>
            {
                expr_of(&format!("{}()", value(ident)))
            }
            Expr::BinaryOp { op, .. } => {
                if let BinaryOperator::PGCustomBinaryOperator(name) = op
                    && let Some(known) = operator(name)
                {
                    *op = known;
                    self.is_changed = true;
                }
                None
            }
            Expr::AnyOp { right, .. } | Expr::AllOp { right, .. } => {
                let array = peeled(right).and_then(array_of);
                self.become_(right, array);
                None
            }
            Expr::Like {
                pattern,
                escape_char,
                ..
            }
            | Expr::ILike {
                pattern,
                escape_char,
                ..
            } => {
                let new = escaped(pattern, escape_char.as_ref());
                if new.is_some() {
                    *escape_char = None;
                }
                self.become_(pattern, new);
                None
            }
            Expr::Cast {
                expr: inner,
                data_type,
                kind,
                ..
            } => cast(inner, data_type, kind),
            Expr::Function(function) => {
                self.unprefix(&mut function.name);
                array_query(function).or_else(|| array_upper(function))
            }
            Expr::Subquery(query) if self.is_about => {
                self.is_changed |= one_row(query);
                None
            }
            _ => None,
        };
        self.become_(expr, new);
        ControlFlow::Continue(())
    }
}

impl Rewriting {
    /// Points a name at the schema that holds PostgreSQL's tables here, and keeps what it is called by.
    fn catalogues(&self, name: &mut ObjectName, alias: &mut Option<TableAlias>) -> bool {
        let mut parts: Vec<String> = name.0.iter().map(part).collect();
        let is_ours = parts.len() == 3 && parts[0] == DATABASE;
        if is_ours {
            parts.remove(0);
        }
        let known = match parts.as_slice() {
            [one] if one.starts_with("pg_") && !self.hidden.contains(one) => one.clone(),
            [schema, one] if schema == "pg_catalog" => one.clone(),
            [schema, one] if schema == "information_schema" => {
                let known = format!("information_schema_{one}");
                let is_made = ["tables", "columns", "schemata", "views"].contains(&one.as_str());
                if !is_made && !is_without_rows(&known) {
                    return false;
                }
                known
            }
            _ if is_ours => {
                name.0.remove(0);
                return true;
            }
            _ => return false,
        };
        if alias.is_none() {
            *alias = Some(TableAlias {
                explicit: true,
                name: Ident::new(parts[parts.len() - 1].clone()),
                columns: Vec::new(),
                at: None,
            });
        }
        *name = ObjectName::from(vec![
            Ident::new("pg_catalog"),
            Ident::with_quote('"', known),
        ]);
        true
    }
}

/// `n.oid, n.*`: the second has it already, and two of a name are an error here.
fn drop_repeated(select: &mut Select) -> bool {
    let whole: BTreeSet<String> = select
        .projection
        .iter()
        .filter_map(|item| match item {
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
                Some(last_part(name))
            }
            _ => None,
        })
        .collect();
    let before = select.projection.len();
    select.projection.retain(|item| match item {
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(parts)) => {
            !(parts.len() == 2 && whole.contains(&value(&parts[0])))
        }
        _ => true,
    });
    select.projection.len() < before
}

/// Gives columns without a name the one that PostgreSQL gives them, as clients look for it.
fn name_columns(select: &mut Select) -> bool {
    let name_of = |item: &SelectItem| match item {
        SelectItem::UnnamedExpr(expr) => Some(named(expr)),
        SelectItem::ExprWithAlias { alias, .. } => Some(value(alias)),
        _ => None,
    };
    let names: Vec<Option<String>> = select.projection.iter().map(name_of).collect();
    let mut is_changed = false;
    for (index, item) in select.projection.iter_mut().enumerate() {
        let SelectItem::UnnamedExpr(expr) = item else {
            continue;
        };
        let is_plain = matches!(
            expr,
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Value(_)
        );
        let count = names.iter().filter(|name| **name == names[index]).count();
        if let (false, 1, Some(name)) = (is_plain, count, &names[index]) {
            *item = SelectItem::ExprWithAlias {
                expr: expr.clone(),
                alias: Ident::with_quote('"', name.clone()),
            };
            is_changed = true;
        }
    }
    is_changed
}

/// The words of SQL, of which clients want those that are not the standard's: none are told.
fn keywords(factor: &mut TableFactor) -> bool {
    let text = include_str!("../../../../queries/serve/pg_get_keywords.sql");
    let body = query_of(text).map(|query| query.body);
    let Some(SetExpr::Select(select)) = body.as_deref() else {
        return false;
    };
    let Some(from) = select.from.first() else {
        return false;
    };
    *factor = from.relation.clone();
    true
}

/// Has a subquery that stands for a value say that it is one: it may hang on the row around it only then.
fn one_row(query: &mut Query) -> bool {
    let SetExpr::Select(select) = query.body.as_mut() else {
        return false;
    };
    let [SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }] =
        select.projection.as_slice()
    else {
        return false;
    };
    if select.from.is_empty() || aggregates(select) || select.distinct.is_some() {
        return false;
    }
    let Some(new) = expr_of(&format!("max({expr})")) else {
        return false;
    };
    select.projection = vec![SelectItem::UnnamedExpr(new)];
    query.order_by = None;
    query.limit_clause = None;
    true
}

#[cfg(test)]
mod tests;
