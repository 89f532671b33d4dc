//! Owns how rows are printed: table, JSON, CSV, NDJSON. Data to stdout, never anything else.

use std::io::Write;

use clap::ValueEnum;
use datafusion::arrow::array::{Array, AsArray as _, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use serde_json::{Map, Value};

use super::CliError;

/// The form of printed rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// Columns aligned for reading.
    Table,
    /// One array of objects.
    Json,
    /// One object a line.
    Ndjson,
    /// RFC 4180, with a header; cells that a spreadsheet would run as formulas are quoted.
    Csv,
}

/// Prints batches that share one schema.
pub(super) fn print_rows(
    out: &mut dyn Write,
    batches: &[RecordBatch],
    format: OutputFormat,
) -> Result<(), CliError> {
    let Some(first) = batches.first() else {
        return if format == OutputFormat::Json {
            writeln!(out, "[]").map_err(CliError::Stdout)
        } else {
            Ok(())
        };
    };
    let names: Vec<String> = first
        .schema()
        .fields()
        .iter()
        .map(|f| f.name().clone())
        .collect();
    match format {
        OutputFormat::Table => print_table(out, &names, batches),
        OutputFormat::Csv => print_csv(out, &names, batches),
        OutputFormat::Json => {
            let rows = batches
                .iter()
                .map(|b| json_rows(&names, b))
                .collect::<Result<Vec<_>, _>>()?;
            let rows: Vec<Value> = rows.into_iter().flatten().collect();
            serde_json::to_writer_pretty(&mut *out, &rows)
                .map_err(|e| CliError::Stdout(e.into()))?;
            writeln!(out).map_err(CliError::Stdout)
        }
        OutputFormat::Ndjson => {
            for batch in batches {
                for row in json_rows(&names, batch)? {
                    writeln!(out, "{row}").map_err(CliError::Stdout)?;
                }
            }
            Ok(())
        }
    }
}

/// The rows of a batch as JSON objects.
pub(super) fn json_objects(batch: &RecordBatch) -> Result<Vec<Map<String, Value>>, CliError> {
    let names: Vec<String> = batch
        .schema()
        .fields()
        .iter()
        .map(|field| field.name().clone())
        .collect();
    Ok(json_rows(&names, batch)?
        .into_iter()
        .filter_map(|row| match row {
            Value::Object(fields) => Some(fields),
            _ => None,
        })
        .collect())
}

fn text_rows(batch: &RecordBatch) -> Result<Vec<Vec<Option<String>>>, CliError> {
    let options = FormatOptions::default();
    let formatters = batch
        .columns()
        .iter()
        .map(|column| ArrayFormatter::try_new(column.as_ref(), &options))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| CliError::Format(error.to_string()))?;
    Ok((0..batch.num_rows())
        .map(|row| {
            formatters
                .iter()
                .zip(batch.columns())
                .map(|(formatter, column)| {
                    (!column.is_null(row)).then(|| formatter.value(row).to_string())
                })
                .collect()
        })
        .collect())
}

fn print_table(
    out: &mut dyn Write,
    names: &[String],
    batches: &[RecordBatch],
) -> Result<(), CliError> {
    let mut rows = Vec::new();
    for batch in batches {
        rows.extend(text_rows(batch)?);
    }
    let right: Vec<bool> = batches[0]
        .schema()
        .fields()
        .iter()
        .map(|field| field.data_type().is_numeric())
        .collect();
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|row| row.into_iter().map(Option::unwrap_or_default).collect())
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    out.write_all(table_text(&names, &rows, &right).as_bytes())
        .map_err(CliError::Stdout)
}

/// Text in which no control character drives the terminal.
pub(super) fn plain(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

/// A table with a rule below its head; columns of `right` end at the right.
pub(super) fn table_text(names: &[&str], rows: &[Vec<String>], right: &[bool]) -> String {
    let rows: Vec<Vec<String>> = rows
        .iter()
        .map(|row| row.iter().map(|cell| plain(cell)).collect())
        .collect();
    let mut widths: Vec<usize> = names.iter().map(|name| name.chars().count()).collect();
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: &[String]| -> String {
        let mut text = String::new();
        for (index, cell) in cells.iter().enumerate() {
            if index > 0 {
                text.push_str("  ");
            }
            let pad = " ".repeat(widths[index].saturating_sub(cell.chars().count()));
            if right[index] {
                text.push_str(&pad);
                text.push_str(cell);
            } else {
                text.push_str(cell);
                text.push_str(&pad);
            }
        }
        text.trim_end().to_owned() + "\n"
    };
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let rule: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
    let mut text = line(&names);
    text.push_str(rule.join("  ").trim_end());
    text.push('\n');
    for row in &rows {
        text.push_str(&line(row));
    }
    text
}

fn print_csv(
    out: &mut dyn Write,
    names: &[String],
    batches: &[RecordBatch],
) -> Result<(), CliError> {
    let mut writer = csv::Writer::from_writer(out);
    // Its kind is kept: a reader that has gone is no fault.
    let failed = |error: csv::Error| {
        CliError::Stdout(match error.into_kind() {
            csv::ErrorKind::Io(error) => error,
            other => std::io::Error::other(format!("{other:?}")),
        })
    };
    writer.write_record(names).map_err(failed)?;
    for batch in batches {
        let numeric: Vec<bool> = batch
            .schema()
            .fields()
            .iter()
            .map(|f| f.data_type().is_numeric())
            .collect();
        for row in text_rows(batch)? {
            let cells: Vec<String> = row
                .into_iter()
                .zip(&numeric)
                .map(|(cell, numeric)| {
                    let cell = cell.unwrap_or_default();
                    if *numeric { cell } else { no_formula(cell) }
                })
                .collect();
            writer.write_record(&cells).map_err(failed)?;
        }
    }
    writer.flush().map_err(CliError::Stdout)
}

/// A spreadsheet runs cells that begin like a formula: a leading apostrophe makes them text.
fn no_formula(cell: String) -> String {
    if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) {
        format!("'{cell}")
    } else {
        cell
    }
}

fn json_rows(names: &[String], batch: &RecordBatch) -> Result<Vec<Value>, CliError> {
    let text = text_rows(batch)?;
    Ok(text
        .into_iter()
        .enumerate()
        .map(|(row, cells)| {
            let mut object = Map::new();
            for (index, cell) in cells.into_iter().enumerate() {
                let value = match (cell, batch.column(index).data_type()) {
                    (None, _) => Value::Null,
                    (Some(_), DataType::Int64) => batch
                        .column(index)
                        .as_primitive::<Int64Type>()
                        .value(row)
                        .into(),
                    (Some(_), DataType::Float64) => batch
                        .column(index)
                        .as_primitive::<Float64Type>()
                        .value(row)
                        .into(),
                    (Some(text), DataType::Boolean) => Value::Bool(text == "true"),
                    (Some(text), kind) if kind.is_integer() => {
                        text.parse::<i64>().map_or(Value::String(text), Value::from)
                    }
                    // Decimals stay text: a JSON number would turn money into a float.
                    (Some(text), _) => Value::String(text),
                };
                object.insert(names[index].clone(), value);
            }
            Value::Object(object)
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{ArrayRef, Decimal128Array, Int64Array, StringArray};

    use super::*;

    fn printed(format: OutputFormat) -> String {
        let batch = RecordBatch::try_from_iter([
            (
                "name",
                Arc::new(StringArray::from(vec![
                    Some("=1+1"),
                    Some("a\u{1b}[31m,b"),
                    None,
                ])) as ArrayRef,
            ),
            (
                "hours",
                Arc::new(Int64Array::from(vec![Some(1), Some(20), None])) as ArrayRef,
            ),
            (
                "usd",
                Arc::new(
                    Decimal128Array::from(vec![Some(1_500_000), Some(-2), None])
                        .with_precision_and_scale(38, 6)
                        .unwrap(),
                ) as ArrayRef,
            ),
        ])
        .unwrap();
        let mut out = Vec::new();
        print_rows(&mut out, &[batch], format).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn spreadsheets_get_no_formulas() {
        let text = printed(OutputFormat::Csv);
        assert_eq!(
            text,
            "name,hours,usd\n'=1+1,1,1.500000\n\"a\u{1b}[31m,b\",20,-0.000002\n,,\n"
        );
    }

    #[test]
    fn terminals_get_no_control_characters() {
        let text = printed(OutputFormat::Table);
        assert!(!text.contains('\u{1b}'), "{text:?}");
        assert!(text.starts_with("name"), "{text}");
    }

    #[test]
    fn money_is_text_in_json() {
        let rows: Value = serde_json::from_str(&printed(OutputFormat::Json)).unwrap();
        assert_eq!(rows[0]["usd"], "1.500000");
        assert_eq!(rows[1]["hours"], 20);
        assert_eq!(rows[2]["name"], Value::Null);
        assert_eq!(printed(OutputFormat::Ndjson).lines().count(), 3);
    }
}
