//! Owns what equal means: same rows in the same order; numbers to 1e-9 where one is a float.

use libtest_mimic::Failed;
use serde_json::Value;

use crate::cases::Case;
use crate::engines::{Results, Rows};

/// A result against what the case expects of it: listed columns only, every row.
pub(crate) fn with_expected(case: &Case, results: &Results) -> Result<(), Failed> {
    let mut wrong = Vec::new();
    for (name, expected) in &case.expect {
        let Some(result) = results.get(name) else {
            wrong.push(format!("`{name}` has no result"));
            continue;
        };
        if expected.len() != result.rows.len() {
            wrong.push(format!(
                "`{name}` has {} rows, expected {}",
                result.rows.len(),
                expected.len()
            ));
        }
        for (index, row) in expected.iter().enumerate().take(result.rows.len()) {
            for (column, cell) in row {
                let Some(at) = result.columns.iter().position(|known| known == column) else {
                    wrong.push(format!("`{name}` has no column `{column}`"));
                    continue;
                };
                let want = serde_json::to_value(cell).map_err(|e| Failed::from(e.to_string()))?;
                let got = &result.rows[index][at];
                if !same(&want, got) {
                    wrong.push(format!(
                        "`{name}` row {index} {column}: {got}, expected {want}"
                    ));
                }
            }
        }
        if !wrong.is_empty() {
            wrong.push(shown(name, result));
        }
    }
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.join("\n").into())
    }
}

/// Two engines' results against each other: every column of every step.
pub(crate) fn engines(ours: &Results, peer: &Results) -> Result<(), Failed> {
    for (name, left) in ours {
        let Some(right) = peer.get(name) else {
            return Err(format!("`{name}`: DuckDB has no such result").into());
        };
        if left.columns != right.columns {
            return Err(format!(
                "`{name}`: columns {:?} on DataFusion, {:?} on DuckDB",
                left.columns, right.columns
            )
            .into());
        }
        let equal = left.rows.len() == right.rows.len()
            && left
                .rows
                .iter()
                .zip(&right.rows)
                .all(|(a, b)| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)));
        if !equal {
            return Err(format!(
                "`{name}` differs.\nDataFusion: {}\nDuckDB: {}",
                shown(name, left),
                shown(name, right)
            )
            .into());
        }
    }
    Ok(())
}

fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(x), Value::Number(y)) => {
            if let (Some(x), Some(y)) = (x.as_i64(), y.as_i64()) {
                return x == y;
            }
            match (x.as_f64(), y.as_f64()) {
                (Some(x), Some(y)) => (x - y).abs() <= 1e-9 * x.abs().max(y.abs()).max(1.0),
                _ => false,
            }
        }
        (Value::Array(x), Value::Array(y)) => {
            x.len() == y.len() && x.iter().zip(y).all(|(x, y)| same(x, y))
        }
        _ => a == b,
    }
}

/// The rows themselves, which is what one needs to see when they are wrong.
fn shown(name: &str, result: &Rows) -> String {
    const SHOWN_ROWS: usize = 12;
    let mut lines = vec![format!("`{name}` is:")];
    for row in result.rows.iter().take(SHOWN_ROWS) {
        let cells: Vec<String> = result
            .columns
            .iter()
            .zip(row)
            .map(|(column, cell)| format!("{column}: {cell}"))
            .collect();
        lines.push(format!("  {{{}}}", cells.join(", ")));
    }
    if result.rows.len() > SHOWN_ROWS {
        lines.push(format!("  and {} more", result.rows.len() - SHOWN_ROWS));
    }
    lines.join("\n")
}
