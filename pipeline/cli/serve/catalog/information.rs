//! Owns the rows of `information_schema`, with PostgreSQL's names of types: by them a dashboard knows which
//! column is a time and which a number.

use datafusion::error::Result;

use super::cells::Cells::{EachText, NoNumber, NoText, Numbers, SomeNumbers, SomeTexts, Texts};
use super::cells::table;
use super::facts::{DATABASE, Facts, NAMESPACES, OWNER, Relation, format_type, of_column, type_of};
use super::tables::Tables;

/// A column of a relation, as the catalogue has it.
pub(super) struct Column<'a> {
    pub relation: &'a Relation,
    pub name: &'a str,
    pub number: i64,
    pub oid: i64,
    pub modifier: i64,
    pub is_nullable: bool,
}

pub(super) fn all_columns(facts: &Facts) -> Vec<Column<'_>> {
    let of = |relation| {
        let relation: &Relation = relation;
        let fields = relation.schema.fields().iter().zip(1..);
        fields.map(move |(field, number)| {
            let (oid, modifier) = of_column(field.data_type());
            Column {
                relation,
                name: field.name(),
                number,
                oid,
                modifier,
                is_nullable: field.is_nullable(),
            }
        })
    };
    facts.relations.iter().flat_map(of).collect()
}

pub(super) fn information(facts: &Facts) -> Result<Tables> {
    let relations = &facts.relations;
    let kind = |is_view| if is_view { "VIEW" } else { "BASE TABLE" }.to_owned();
    let tables = table(
        relations.len(),
        vec![
            ("table_catalog", EachText(DATABASE)),
            ("table_schema", EachText("public")),
            (
                "table_name",
                Texts(relations.iter().map(|r| r.name.clone()).collect()),
            ),
            (
                "table_type",
                Texts(relations.iter().map(|r| kind(r.is_view)).collect()),
            ),
            ("self_referencing_column_name", NoText),
            ("is_insertable_into", EachText("NO")),
            ("is_typed", EachText("NO")),
        ],
    )?;
    let all = all_columns(facts);
    let digits = |c: &Column<'_>| (c.modifier >= 4).then(|| c.modifier - 4);
    let data_type = |c: &Column<'_>| match type_of(c.oid) {
        Some((_, true)) => "ARRAY".to_owned(),
        _ => format_type(c.oid, -1),
    };
    let udt = |c: &Column<'_>| {
        let (name, many) = type_of(c.oid).map_or(("text", false), |(t, many)| (t.name, many));
        format!("{}{name}", if many { "_" } else { "" })
    };
    let columns = table(
        all.len(),
        vec![
            ("table_catalog", EachText(DATABASE)),
            ("table_schema", EachText("public")),
            (
                "table_name",
                Texts(all.iter().map(|c| c.relation.name.clone()).collect()),
            ),
            (
                "column_name",
                Texts(all.iter().map(|c| c.name.to_owned()).collect()),
            ),
            (
                "ordinal_position",
                Numbers(all.iter().map(|c| c.number).collect()),
            ),
            ("column_default", NoText),
            (
                "is_nullable",
                Texts(
                    all.iter()
                        .map(|c| if c.is_nullable { "YES" } else { "NO" }.to_owned())
                        .collect(),
                ),
            ),
            ("data_type", Texts(all.iter().map(data_type).collect())),
            ("character_maximum_length", NoNumber),
            ("character_octet_length", NoNumber),
            (
                "numeric_precision",
                SomeNumbers(all.iter().map(|c| digits(c).map(|d| d >> 16)).collect()),
            ),
            (
                "numeric_scale",
                SomeNumbers(all.iter().map(|c| digits(c).map(|d| d & 0xffff)).collect()),
            ),
            ("datetime_precision", NoNumber),
            ("interval_type", NoText),
            ("collation_name", NoText),
            ("domain_name", NoText),
            ("udt_catalog", EachText(DATABASE)),
            ("udt_schema", EachText("pg_catalog")),
            ("udt_name", Texts(all.iter().map(udt).collect())),
            ("is_identity", EachText("NO")),
            ("identity_generation", NoText),
            ("is_generated", EachText("NEVER")),
            ("generation_expression", NoText),
            ("is_updatable", EachText("NO")),
        ],
    )?;
    let schemata = table(
        NAMESPACES.len(),
        vec![
            ("catalog_name", EachText(DATABASE)),
            (
                "schema_name",
                Texts(
                    NAMESPACES
                        .iter()
                        .map(|(_, name)| (*name).to_owned())
                        .collect(),
                ),
            ),
            ("schema_owner", EachText(OWNER)),
            ("default_character_set_name", NoText),
            ("sql_path", NoText),
        ],
    )?;
    let shown: Vec<_> = relations
        .iter()
        .filter(|relation| relation.is_view)
        .collect();
    let views = table(
        shown.len(),
        vec![
            ("table_catalog", EachText(DATABASE)),
            ("table_schema", EachText("public")),
            (
                "table_name",
                Texts(shown.iter().map(|view| view.name.clone()).collect()),
            ),
            (
                "view_definition",
                SomeTexts(shown.iter().map(|view| view.definition.clone()).collect()),
            ),
            ("check_option", EachText("NONE")),
            ("is_updatable", EachText("NO")),
            ("is_insertable_into", EachText("NO")),
        ],
    )?;
    Ok(vec![
        ("information_schema_tables", tables),
        ("information_schema_columns", columns),
        ("information_schema_schemata", schemata),
        ("information_schema_views", views),
    ])
}
