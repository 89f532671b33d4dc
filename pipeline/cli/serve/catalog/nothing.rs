//! Owns which queries can have no rows, as they read a table of the catalogue that has none. Clients ask for
//! indexes, keys, policies and triggers in ways that no other engine plans; none of it exists here, so that
//! such a query is answered by its columns alone.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArguments, GroupByExpr, JoinOperator, ObjectName, Query, Select, SelectItem,
    SetExpr, SetOperator, TableFactor, TableWithJoins, Visit, Visitor,
};

use super::empty::is_without_rows;
use super::words::{last_part, part, query_of};

/// Names that a statement gives to queries of its own: they hide tables of the same name.
pub(super) type Hidden = BTreeSet<String>;

/// Functions that make one row of none.
const AGGREGATES: &[&str] = &[
    "array_agg",
    "avg",
    "bool_and",
    "bool_or",
    "count",
    "every",
    "json_agg",
    "jsonb_agg",
    "max",
    "min",
    "string_agg",
    "sum",
];

pub(super) fn has_none(query: &Query, hidden: &Hidden) -> bool {
    body_has_none(&query.body, hidden)
}

fn body_has_none(body: &SetExpr, hidden: &Hidden) -> bool {
    match body {
        SetExpr::Select(select) => select_has_none(select, hidden),
        SetExpr::Query(query) => has_none(query, hidden),
        SetExpr::SetOperation {
            op: SetOperator::Union,
            left,
            right,
            ..
        } => body_has_none(left, hidden) && body_has_none(right, hidden),
        _ => false,
    }
}

fn select_has_none(select: &Select, hidden: &Hidden) -> bool {
    // An aggregate of no rows is a row.
    (is_grouped(select) || !aggregates(select))
        && select.from.iter().any(|from| from_has_none(from, hidden))
}

fn is_grouped(select: &Select) -> bool {
    !matches!(&select.group_by, GroupByExpr::Expressions(by, _) if by.is_empty())
}

/// Whether what is selected is an aggregate somewhere; those of queries within it are their own.
pub(super) fn aggregates(select: &Select) -> bool {
    let mut looking = Looking { depth: 0 };
    is_grouped(select)
        || select.having.is_some()
        || Visit::visit(&select.projection, &mut looking).is_break()
}

struct Looking {
    depth: usize,
}

impl Visitor for Looking {
    type Break = ();

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Function(function)
                if self.depth == 0
                    && function.over.is_none()
                    && AGGREGATES.contains(&last_part(&function.name).as_str()) =>
            {
                ControlFlow::Break(())
            }
            _ => ControlFlow::Continue(()),
        }
    }
}

fn from_has_none(from: &TableWithJoins, hidden: &Hidden) -> bool {
    let mut none = factor_has_none(&from.relation, hidden);
    for join in &from.joins {
        let joined = factor_has_none(&join.relation, hidden);
        none = match &join.join_operator {
            JoinOperator::Join(_) | JoinOperator::Inner(_) | JoinOperator::CrossJoin(_) => {
                none || joined
            }
            JoinOperator::Left(_) | JoinOperator::LeftOuter(_) => none,
            JoinOperator::Right(_) | JoinOperator::RightOuter(_) => joined,
            JoinOperator::FullOuter(_) => none && joined,
            _ => return false,
        };
    }
    none
}

fn factor_has_none(factor: &TableFactor, hidden: &Hidden) -> bool {
    match factor {
        TableFactor::Table {
            name, args: None, ..
        } => names_none(name, hidden),
        TableFactor::Derived { subquery, .. } => has_none(subquery, hidden),
        TableFactor::NestedJoin {
            table_with_joins, ..
        } => from_has_none(table_with_joins, hidden),
        _ => false,
    }
}

fn names_none(name: &ObjectName, hidden: &Hidden) -> bool {
    let last = last_part(name);
    let schema = name.0.len().checked_sub(2).map(|at| part(&name.0[at]));
    match schema.as_deref() {
        None => !hidden.contains(&last) && last.starts_with("pg_") && is_without_rows(&last),
        Some("pg_catalog") => is_without_rows(&last),
        Some("information_schema") => is_without_rows(&format!("information_schema_{last}")),
        Some(_) => false,
    }
}

/// Makes of a query whose rows are none one that says so; `false` where its columns are not known.
pub(super) fn emptied(query: &mut Query) -> bool {
    if !empty_body(&mut query.body) {
        return false;
    }
    query.with = None;
    query.order_by = None;
    query.limit_clause = None;
    query.fetch = None;
    query.locks.clear();
    true
}

fn empty_body(body: &mut SetExpr) -> bool {
    match body {
        SetExpr::Query(query) => emptied(query),
        // The first of them names the columns, and the rest are as many.
        SetExpr::SetOperation { left, .. } => {
            let mut first = left.as_ref().clone();
            empty_body(&mut first) && {
                *body = first;
                true
            }
        }
        SetExpr::Select(select) => {
            let emptied = without_rows(select, "CAST(NULL AS TEXT)");
            emptied.is_some_and(|new| {
                *body = new;
                true
            })
        }
        _ => false,
    }
}

/// [`emptied`] for one of several that are united: its columns take the types of the others.
pub(super) fn emptied_one(select: &mut Select, hidden: &Hidden) -> bool {
    if !select_has_none(select, hidden) {
        return false;
    }
    match without_rows(select, "NULL") {
        Some(SetExpr::Select(new)) => {
            *select = *new;
            true
        }
        _ => false,
    }
}

/// What is selected, as as many columns of `cell` and no row.
fn without_rows(select: &Select, cell: &str) -> Option<SetExpr> {
    let mut names: Vec<String> = Vec::new();
    for item in &select.projection {
        let name = match item {
            SelectItem::ExprWithAlias { alias, .. } => alias.value.clone(),
            SelectItem::UnnamedExpr(expr) => named(expr),
            _ => return None,
        };
        // Two columns of one name are fine over there, and an error here.
        let is_known = names.contains(&name);
        names.push(if is_known {
            format!("{name}_{}", names.len())
        } else {
            name
        });
    }
    let column = |name: &String| format!("{cell} AS \"{}\"", name.replace('"', "\"\""));
    let columns: Vec<String> = names.iter().map(column).collect();
    let text = format!("SELECT {} WHERE false", columns.join(", "));
    Some(*query_of(&text)?.body)
}

/// The name that PostgreSQL gives to a column without one.
pub(super) fn named(expr: &Expr) -> String {
    match expr {
        Expr::Identifier(ident) => ident.value.clone(),
        Expr::CompoundIdentifier(parts) => parts
            .last()
            .map_or_else(String::new, |ident| ident.value.clone()),
        Expr::Cast { expr, .. } | Expr::Nested(expr) | Expr::Collate { expr, .. } => named(expr),
        Expr::Function(function) => match &function.args {
            FunctionArguments::Subquery(_) => "array".to_owned(),
            _ => last_part(&function.name),
        },
        Expr::Case { .. } => "case".to_owned(),
        Expr::Exists { .. } => "exists".to_owned(),
        _ => "?column?".to_owned(),
    }
}
