//! Owns what PostgreSQL's catalogue tells of: the relations of a session, each with a number, and the types of
//! their columns. How rows and answers are made of them is `tables`' and `functions`'.

use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::datasource::TableType;
use datafusion::error::Result;
use datafusion::prelude::SessionContext;

use crate::cli::data;
use crate::cli::serve::types::Kind;

pub(super) const DATABASE: &str = "idleproof";
/// Owns everything, and is nobody who can log in.
pub(super) const OWNER: &str = "idleproof";
pub(super) const OWNER_OID: i64 = 10;
pub(super) const DATABASE_OID: i64 = 16_383;
/// The first number that PostgreSQL gives to what users make.
const FIRST_OID: i64 = 16_384;

/// `(number, name)`; the first two are PostgreSQL's own numbers.
pub(super) const NAMESPACES: &[(i64, &str)] = &[
    (11, "pg_catalog"),
    (PUBLIC_OID, "public"),
    (13_000, "information_schema"),
];
pub(super) const PUBLIC_OID: i64 = 2_200;

/// Tables of the catalogue that others refer to by PostgreSQL's own numbers.
pub(super) const PG_CLASS_OID: i64 = 1_259;
const CATALOGUES: &[(i64, &str)] = &[
    (PG_CLASS_OID, "pg_class"),
    (1_247, "pg_type"),
    (1_249, "pg_attribute"),
    (1_255, "pg_proc"),
    (1_262, "pg_database"),
    (2_606, "pg_constraint"),
    (2_615, "pg_namespace"),
];

/// A type as clients know it.
pub(super) struct Known {
    pub oid: i64,
    pub array_oid: i64,
    pub name: &'static str,
    /// As SQL has it, where that is another word.
    pub sql: &'static str,
    pub bytes: i64,
    pub category: &'static str,
}

const fn known(
    oid: i64,
    array_oid: i64,
    name: &'static str,
    sql: &'static str,
    bytes: i64,
    category: &'static str,
) -> Known {
    Known {
        oid,
        array_oid,
        name,
        sql,
        bytes,
        category,
    }
}

/// The types of values that are sent, and those that clients ask for by habit.
pub(super) const TYPES: &[Known] = &[
    known(16, 1000, "bool", "boolean", 1, "B"),
    known(17, 1001, "bytea", "bytea", -1, "U"),
    known(18, 1002, "char", "\"char\"", 1, "Z"),
    known(19, 1003, "name", "name", 64, "S"),
    known(20, 1016, "int8", "bigint", 8, "N"),
    known(21, 1005, "int2", "smallint", 2, "N"),
    known(23, 1007, "int4", "integer", 4, "N"),
    known(25, 1009, "text", "text", -1, "S"),
    known(26, 1028, "oid", "oid", 4, "N"),
    known(114, 199, "json", "json", -1, "U"),
    known(700, 1021, "float4", "real", 4, "N"),
    known(701, 1022, "float8", "double precision", 8, "N"),
    known(1042, 1014, "bpchar", "character", -1, "S"),
    known(1043, 1015, "varchar", "character varying", -1, "S"),
    known(1082, 1182, "date", "date", 4, "D"),
    known(
        1114,
        1115,
        "timestamp",
        "timestamp without time zone",
        8,
        "D",
    ),
    known(
        1184,
        1185,
        "timestamptz",
        "timestamp with time zone",
        8,
        "D",
    ),
    known(1700, 1231, "numeric", "numeric", -1, "N"),
];

/// The type of a number, and whether it is one of many.
pub(super) fn type_of(oid: i64) -> Option<(&'static Known, bool)> {
    TYPES.iter().find_map(|known| {
        (known.oid == oid)
            .then_some((known, false))
            .or((known.array_oid == oid).then_some((known, true)))
    })
}

/// A type's number by a name of either kind.
pub(super) fn type_named(name: &str) -> Option<i64> {
    let name = name.trim().to_ascii_lowercase();
    let name = name.strip_prefix("pg_catalog.").unwrap_or(&name);
    let (name, is_array) = match name.strip_suffix("[]") {
        Some(item) => (item, true),
        None => (name, false),
    };
    let is_it = |known: &&Known| known.name == name || known.sql == name;
    let known = TYPES.iter().find(is_it)?;
    Some(if is_array { known.array_oid } else { known.oid })
}

/// A type's name in SQL, with what `modifier` adds.
pub(super) fn format_type(oid: i64, modifier: i64) -> String {
    let Some((known, is_array)) = type_of(oid) else {
        return "???".to_owned();
    };
    let digits = if known.name == "numeric" && modifier >= 4 {
        let modifier = modifier - 4;
        format!("({},{})", modifier >> 16, modifier & 0xffff)
    } else {
        String::new()
    };
    format!("{}{digits}{}", known.sql, if is_array { "[]" } else { "" })
}

/// PostgreSQL's number of a column's type, and its modifier.
pub(super) fn of_column(data_type: &DataType) -> (i64, i64) {
    let modifier = match data_type {
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale) => {
            (i64::from(*precision) << 16 | i64::from(*scale)) + 4
        }
        _ => -1,
    };
    (i64::from(Kind::of(data_type).oid()), modifier)
}

/// A table or a view.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Relation {
    pub oid: i64,
    pub name: String,
    pub is_view: bool,
    pub about: Option<String>,
    pub definition: Option<String>,
    pub schema: SchemaRef,
}

/// All that there is to tell.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Facts {
    pub relations: Vec<Relation>,
}

impl Facts {
    /// What a session's default schema holds, by name; so the numbers of one publication are always the same.
    pub(super) async fn of(session: &SessionContext) -> Result<Self> {
        let mut relations = Vec::new();
        let options = session.copied_config();
        let defaults = &options.options().catalog;
        let schema = session
            .catalog(&defaults.default_catalog)
            .and_then(|catalog| catalog.schema(&defaults.default_schema));
        let Some(schema) = schema else {
            return Ok(Self { relations });
        };
        let views = data::views();
        let mut names = schema.table_names();
        names.sort();
        for (name, oid) in names.into_iter().zip(FIRST_OID..) {
            let Some(table) = schema.table(&name).await? else {
                continue;
            };
            let sql = views.iter().find(|(view, _)| *view == name);
            relations.push(Relation {
                oid,
                is_view: table.table_type() == TableType::View,
                about: sql.and_then(|(_, sql)| about(sql)),
                definition: sql.map(|(_, sql)| sql.clone()),
                schema: table.schema(),
                name,
            });
        }
        Ok(Self { relations })
    }

    /// The number of a relation by its name, quoted or with its schema or not.
    pub(super) fn oid_of(&self, name: &str) -> Option<i64> {
        let name = name.trim();
        if let Ok(oid) = name.parse() {
            return Some(oid);
        }
        let parts = parts(name)?;
        let last = parts.last()?;
        let is_own = parts.len() == 1 || parts[parts.len() - 2] == "public";
        let own = self
            .relations
            .iter()
            .find(|relation| is_own && relation.name == *last);
        let catalogue = || CATALOGUES.iter().find(|(_, name)| name == last);
        own.map(|relation| relation.oid)
            .or_else(|| catalogue().map(|(oid, _)| *oid))
    }

    pub(super) fn name_of(&self, oid: i64) -> Option<&str> {
        let own = self.relations.iter().find(|relation| relation.oid == oid);
        let catalogue = CATALOGUES.iter().find(|(known, _)| *known == oid);
        own.map(|relation| relation.name.as_str())
            .or(catalogue.map(|(_, name)| *name))
    }

    pub(super) fn relation(&self, oid: i64) -> Option<&Relation> {
        self.relations.iter().find(|relation| relation.oid == oid)
    }
}

/// The first line of a view's comment: what it is about.
fn about(sql: &str) -> Option<String> {
    let line = sql.lines().next()?.strip_prefix("--")?.trim();
    (!line.is_empty()).then(|| line.to_owned())
}

/// The parts of a name, in lower case where they are not quoted; `None` where a quote has no end.
pub(super) fn parts(name: &str) -> Option<Vec<String>> {
    let (mut all, mut part, mut is_quoted) = (Vec::new(), String::new(), false);
    let mut chars = name.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if is_quoted && chars.peek() == Some(&'"') => {
                chars.next();
                part.push('"');
            }
            '"' => is_quoted = !is_quoted,
            '.' if !is_quoted => all.push(std::mem::take(&mut part)),
            c if is_quoted => part.push(c),
            c => part.extend(c.to_lowercase()),
        }
    }
    all.push(part);
    (!is_quoted && all.iter().all(|part| !part.is_empty())).then_some(all)
}

/// A name as it must be written in SQL.
pub(super) fn quoted(name: &str) -> String {
    let is_plain = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_')
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if is_plain {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart_as_postgresql_does_it() {
        let of = |name: &str| parts(name).map(|parts| parts.join("|"));
        assert_eq!(of("Public.V_Ledger").as_deref(), Some("public|v_ledger"));
        assert_eq!(of("\"A.b\".\"c\"\"d\"").as_deref(), Some("A.b|c\"d"));
        for wrong in ["", "a.", ".a", "\"a", "\"\""] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
        assert_eq!(quoted("v_ledger"), "v_ledger");
        assert_eq!(quoted("A\"b"), "\"A\"\"b\"");
    }

    #[test]
    fn types_have_the_names_that_sql_gives_them() {
        let (oid, modifier) = of_column(&DataType::Decimal128(38, 6));
        assert_eq!(format_type(oid, modifier), "numeric(38,6)");
        assert_eq!(format_type(1016, -1), "bigint[]");
        assert_eq!(format_type(4, -1), "???");
        assert_eq!(type_named("pg_catalog.int8[]"), Some(1016));
        assert_eq!(type_named("hstore"), None);
        // Whatever a column is sent as has a name.
        for known in TYPES {
            assert_eq!(type_named(known.sql), Some(known.oid));
        }
    }
}
