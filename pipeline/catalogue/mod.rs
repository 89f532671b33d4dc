//! Owns the embedded GPU, instance and model tables and their look-ups.
//!
//! The tables are CSV files beside the code, parsed once at first use. Nothing here reads a file,
//! a clock or a network. What a look-up cannot resolve is `None`, never a neighbour's numbers.
//! Called by `inventory` (what is this node, which model is this) and by `detect` (prices, fit,
//! estimates).

mod gpus;
mod instances;
mod kernels;
mod mig;
mod model_name;
mod models;
mod quantisation;

use std::sync::LazyLock;

pub use gpus::{LabelMatch, Product, Products, Vendor};
pub use instances::{Instance, Instances, Offer, canonical_provider};
pub use kernels::{Kernels, MemoryEfficiency};
pub use mig::MigProfile;
pub use model_name::{ParsedModel, parse_model_name};
pub use models::{KvLayout, Model, Models, Task};
pub use quantisation::{Quantisation, quantisation_in_name, quantisation_stored};

use crate::model::canonical::sha256_hex;

const GPUS_CSV: &str = include_str!("data/gpu_catalogue.csv");
const INSTANCES_CSV: &str = include_str!("data/instance_catalogue.csv");
const MODELS_CSV: &str = include_str!("data/model_catalogue.csv");
const EFFICIENCY_CSV: &str = include_str!("data/kernel_efficiency.csv");
const ALLREDUCE_CSV: &str = include_str!("data/allreduce_latency.csv");

/// A row of an embedded table does not read as one.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("catalogue table {table}, line {line}: {what}; correct the row and build again")]
pub struct CatalogueError {
    pub table: &'static str,
    pub line: u64,
    pub what: String,
}

static PRODUCTS: LazyLock<Products> = LazyLock::new(|| embedded(Products::parse(GPUS_CSV)));
static INSTANCES: LazyLock<Instances> = LazyLock::new(|| embedded(Instances::parse(INSTANCES_CSV)));
static MODELS: LazyLock<Models> = LazyLock::new(|| embedded(Models::parse(MODELS_CSV)));
static KERNELS: LazyLock<Kernels> =
    LazyLock::new(|| embedded(Kernels::parse(EFFICIENCY_CSV, ALLREDUCE_CSV)));

/// The text is fixed when the program is built and a test parses it, so a failure here is a build
/// that no test has seen; an empty table would instead turn every price into "unknown" in silence.
#[expect(clippy::expect_used, reason = "the embedded text is proven by a test")]
fn embedded<T>(parsed: Result<T, CatalogueError>) -> T {
    parsed.expect("embedded catalogue")
}

/// GPU products by catalogue key, node label and DCGM name.
#[must_use]
pub fn products() -> &'static Products {
    &PRODUCTS
}

/// Instance types and what they cost on demand.
#[must_use]
pub fn instances() -> &'static Instances {
    &INSTANCES
}

/// Models whose geometry is known.
#[must_use]
pub fn models() -> &'static Models {
    &MODELS
}

/// Measured kernel efficiency and all-reduce latency.
#[must_use]
pub fn kernels() -> &'static Kernels {
    &KERNELS
}

/// SHA-256 over all tables: part of a publication's digests and of each estimate's version.
#[must_use]
pub fn digest() -> String {
    let mut text = String::new();
    for (name, table) in [
        ("gpu_catalogue", GPUS_CSV),
        ("instance_catalogue", INSTANCES_CSV),
        ("model_catalogue", MODELS_CSV),
        ("kernel_efficiency", EFFICIENCY_CSV),
        ("allreduce_latency", ALLREDUCE_CSV),
    ] {
        text.push_str(name);
        text.push(' ');
        text.push_str(&sha256_hex(table.as_bytes()));
        text.push('\n');
    }
    sha256_hex(text.as_bytes())
}

/// The rows of one CSV table by column name, with errors that name table and line.
struct Rows {
    table: &'static str,
    header: Vec<String>,
    records: Vec<csv::StringRecord>,
}

struct Row<'a> {
    rows: &'a Rows,
    record: &'a csv::StringRecord,
}

impl Rows {
    fn read(table: &'static str, text: &str) -> Result<Self, CatalogueError> {
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let fail = |error: csv::Error| CatalogueError {
            table,
            line: error.position().map_or(0, csv::Position::line),
            what: error.to_string(),
        };
        let header = reader
            .headers()
            .map_err(fail)?
            .iter()
            .map(str::to_owned)
            .collect();
        let records = reader
            .records()
            .collect::<Result<Vec<_>, _>>()
            .map_err(fail)?;
        Ok(Self {
            table,
            header,
            records,
        })
    }

    fn iter(&self) -> impl Iterator<Item = Row<'_>> {
        self.records.iter().map(|record| Row { rows: self, record })
    }
}

impl<'a> Row<'a> {
    fn error(&self, what: impl Into<String>) -> CatalogueError {
        CatalogueError {
            table: self.rows.table,
            line: self.record.position().map_or(0, csv::Position::line),
            what: what.into(),
        }
    }

    /// The cell's text; `None` when it is blank.
    fn text(&self, column: &str) -> Result<Option<&'a str>, CatalogueError> {
        let at = self
            .rows
            .header
            .iter()
            .position(|name| name == column)
            .ok_or_else(|| self.error(format!("no column {column}")))?;
        Ok(self
            .record
            .get(at)
            .map(str::trim)
            .filter(|cell| !cell.is_empty()))
    }

    fn required(&self, column: &str) -> Result<&'a str, CatalogueError> {
        self.text(column)?
            .ok_or_else(|| self.error(format!("{column} is blank")))
    }

    fn parsed<T: std::str::FromStr>(&self, column: &str) -> Result<Option<T>, CatalogueError> {
        self.text(column)?
            .map(|cell| {
                cell.parse()
                    .map_err(|_| self.error(format!("{column} is not a number: {cell:?}")))
            })
            .transpose()
    }

    /// A finite number above zero: no table has a column in which zero or less means anything.
    fn positive(&self, column: &str) -> Result<Option<f64>, CatalogueError> {
        match self.parsed::<f64>(column)? {
            Some(number) if !(number.is_finite() && number > 0.0) => {
                Err(self.error(format!("{column} is not above zero: {number}")))
            }
            other => Ok(other),
        }
    }

    fn required_positive(&self, column: &str) -> Result<f64, CatalogueError> {
        self.positive(column)?
            .ok_or_else(|| self.error(format!("{column} is blank")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_embedded_row_parses() {
        assert!(Products::parse(GPUS_CSV).unwrap().iter().count() >= 30);
        assert!(Instances::parse(INSTANCES_CSV).unwrap().iter().count() >= 148);
        assert!(Models::parse(MODELS_CSV).unwrap().iter().count() >= 87);
        Kernels::parse(EFFICIENCY_CSV, ALLREDUCE_CSV).unwrap();
        assert_eq!(digest().len(), 64);
    }

    #[test]
    fn every_instance_names_a_product_of_the_catalogue() {
        for instance in instances().iter() {
            assert!(
                products().get(&instance.gpu_product).is_some(),
                "{}",
                instance.instance_type
            );
        }
        for product in kernels().products() {
            assert!(products().get(product).is_some(), "{product}");
        }
    }

    #[test]
    fn a_bad_cell_names_table_line_and_column() {
        let text = GPUS_CSV.replacen("15360", "lots", 1);
        let error = Products::parse(&text).unwrap_err();
        assert_eq!(error.table, "gpu_catalogue");
        assert_eq!(error.line, 2);
        assert!(error.what.contains("mem_mib_reported"), "{error}");
    }
}
