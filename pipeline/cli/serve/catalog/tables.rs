//! Owns the rows of PostgreSQL's catalogue, made once for a publication: relations, their columns, types and
//! what else clients ask of a database. Tables without rows are `empty`'s.

use std::sync::Arc;

use datafusion::catalog::{MemorySchemaProvider, SchemaProvider as _};
use datafusion::error::Result;

use super::cells::Cells::{
    EachFlag, EachNumber, EachReal, EachText, Flags, NoNumber, NoText, NoTexts, Numbers, SomeTexts,
    Texts,
};
use super::cells::{table, without_rows};
use super::empty::WITHOUT_ROWS;
use super::facts::{
    DATABASE, DATABASE_OID, Facts, Known, NAMESPACES, OWNER, OWNER_OID, PG_CLASS_OID, PUBLIC_OID,
    TYPES, type_of,
};
use super::information::{Column, all_columns, information};
use crate::cli::serve::statement::SETTINGS;

/// The schema `pg_catalog`. Tables of `information_schema` are in it too, with that name before theirs:
/// DataFusion answers for the schema itself, in types that are not PostgreSQL's.
pub(super) fn schema(facts: &Facts) -> Result<Arc<MemorySchemaProvider>> {
    let schema = Arc::new(MemorySchemaProvider::new());
    let made = [
        relations(facts)?,
        columns(facts)?,
        types()?,
        others()?,
        information(facts)?,
    ];
    for (name, table) in made.into_iter().flatten() {
        schema.register_table(name.to_owned(), table)?;
    }
    for (name, columns) in WITHOUT_ROWS {
        schema.register_table((*name).to_owned(), without_rows(columns)?)?;
    }
    Ok(schema)
}

pub(super) type Tables = Vec<(&'static str, Arc<dyn datafusion::catalog::TableProvider>)>;

fn relations(facts: &Facts) -> Result<Tables> {
    let all = &facts.relations;
    let count = all.len();
    let oids = || Numbers(all.iter().map(|relation| relation.oid).collect());
    let names = |are_views: Option<bool>| {
        let wanted = all
            .iter()
            .filter(|relation| are_views.is_none_or(|views| relation.is_view == views));
        wanted
            .map(|relation| relation.name.clone())
            .collect::<Vec<_>>()
    };
    let class = table(
        count,
        vec![
            ("oid", oids()),
            ("relname", Texts(names(None))),
            ("relnamespace", EachNumber(PUBLIC_OID)),
            ("reltype", EachNumber(0)),
            ("reloftype", EachNumber(0)),
            ("relowner", EachNumber(OWNER_OID)),
            ("relam", EachNumber(0)),
            ("relfilenode", EachNumber(0)),
            ("reltablespace", EachNumber(0)),
            ("relpages", EachNumber(0)),
            ("reltuples", EachReal(-1.0)),
            ("relallvisible", EachNumber(0)),
            ("reltoastrelid", EachNumber(0)),
            ("relhasindex", EachFlag(false)),
            ("relisshared", EachFlag(false)),
            ("relpersistence", EachText("p")),
            (
                "relkind",
                Texts(
                    all.iter()
                        .map(|r| if r.is_view { "v" } else { "r" }.to_owned())
                        .collect(),
                ),
            ),
            (
                "relnatts",
                Numbers(all.iter().map(|r| r.schema.fields().len() as i64).collect()),
            ),
            ("relchecks", EachNumber(0)),
            ("relhasrules", EachFlag(false)),
            ("relhastriggers", EachFlag(false)),
            ("relhassubclass", EachFlag(false)),
            ("relrowsecurity", EachFlag(false)),
            ("relforcerowsecurity", EachFlag(false)),
            ("relispopulated", EachFlag(true)),
            ("relreplident", EachText("n")),
            ("relispartition", EachFlag(false)),
            ("relrewrite", EachNumber(0)),
            ("relfrozenxid", EachNumber(0)),
            ("relminmxid", EachNumber(0)),
            ("relacl", NoTexts),
            ("reloptions", NoTexts),
            ("relpartbound", NoText),
        ],
    )?;
    let described: Vec<_> = all
        .iter()
        .filter_map(|relation| Some((relation.oid, relation.about.clone()?)))
        .collect();
    let description = table(
        described.len(),
        vec![
            (
                "objoid",
                Numbers(described.iter().map(|(oid, _)| *oid).collect()),
            ),
            ("classoid", EachNumber(PG_CLASS_OID)),
            ("objsubid", EachNumber(0)),
            (
                "description",
                Texts(described.into_iter().map(|(_, about)| about).collect()),
            ),
        ],
    )?;
    let views = names(Some(true));
    let definitions = all.iter().filter(|relation| relation.is_view);
    let views = table(
        views.len(),
        vec![
            ("schemaname", EachText("public")),
            ("viewname", Texts(views)),
            ("viewowner", EachText(OWNER)),
            (
                "definition",
                SomeTexts(definitions.map(|view| view.definition.clone()).collect()),
            ),
        ],
    )?;
    let tables = names(Some(false));
    let tables = table(
        tables.len(),
        vec![
            ("schemaname", EachText("public")),
            ("tablename", Texts(tables)),
            ("tableowner", EachText(OWNER)),
            ("tablespace", NoText),
            ("hasindexes", EachFlag(false)),
            ("hasrules", EachFlag(false)),
            ("hastriggers", EachFlag(false)),
            ("rowsecurity", EachFlag(false)),
        ],
    )?;
    Ok(vec![
        ("pg_class", class),
        ("pg_description", description),
        ("pg_views", views),
        ("pg_tables", tables),
    ])
}

fn columns(facts: &Facts) -> Result<Tables> {
    let all = all_columns(facts);
    let numbers = |of: fn(&Column<'_>) -> i64| Numbers(all.iter().map(of).collect());
    let attribute = table(
        all.len(),
        vec![
            ("attrelid", numbers(|c| c.relation.oid)),
            (
                "attname",
                Texts(all.iter().map(|c| c.name.to_owned()).collect()),
            ),
            ("atttypid", numbers(|c| c.oid)),
            ("attstattarget", EachNumber(-1)),
            (
                "attlen",
                numbers(|c| type_of(c.oid).map_or(-1, |(t, many)| if many { -1 } else { t.bytes })),
            ),
            ("attnum", numbers(|c| c.number)),
            (
                "attndims",
                numbers(|c| i64::from(type_of(c.oid).is_some_and(|(_, many)| many))),
            ),
            ("attcacheoff", EachNumber(-1)),
            ("atttypmod", numbers(|c| c.modifier)),
            ("attbyval", EachFlag(false)),
            ("attalign", EachText("i")),
            ("attstorage", EachText("p")),
            ("attcompression", EachText("")),
            (
                "attnotnull",
                Flags(all.iter().map(|c| !c.is_nullable).collect()),
            ),
            ("atthasdef", EachFlag(false)),
            ("atthasmissing", EachFlag(false)),
            ("attidentity", EachText("")),
            ("attgenerated", EachText("")),
            ("attisdropped", EachFlag(false)),
            ("attislocal", EachFlag(true)),
            ("attinhcount", EachNumber(0)),
            ("attcollation", EachNumber(0)),
            ("attacl", NoTexts),
            ("attoptions", NoTexts),
            ("attfdwoptions", NoTexts),
        ],
    )?;
    Ok(vec![("pg_attribute", attribute)])
}

fn types() -> Result<Tables> {
    // Every type and the type of many of it.
    let all: Vec<_> = TYPES
        .iter()
        .flat_map(|known| [(known, false), (known, true)])
        .collect();
    type Of = fn(&(&Known, bool)) -> i64;
    let numbers = |of: Of| Numbers(all.iter().map(of).collect());
    let texts = |of: fn(&(&Known, bool)) -> String| Texts(all.iter().map(of).collect());
    let types = table(
        all.len(),
        vec![
            (
                "oid",
                numbers(|(t, many)| if *many { t.array_oid } else { t.oid }),
            ),
            (
                "typname",
                texts(|(t, many)| format!("{}{}", if *many { "_" } else { "" }, t.name)),
            ),
            ("typnamespace", EachNumber(NAMESPACES[0].0)),
            ("typowner", EachNumber(OWNER_OID)),
            (
                "typlen",
                numbers(|(t, many)| if *many { -1 } else { t.bytes }),
            ),
            ("typbyval", EachFlag(false)),
            ("typtype", EachText("b")),
            (
                "typcategory",
                texts(|(t, many)| if *many { "A" } else { t.category }.to_owned()),
            ),
            ("typispreferred", EachFlag(false)),
            ("typisdefined", EachFlag(true)),
            ("typdelim", EachText(",")),
            ("typrelid", EachNumber(0)),
            ("typsubscript", EachText("-")),
            (
                "typelem",
                numbers(|(t, many)| if *many { t.oid } else { 0 }),
            ),
            (
                "typarray",
                numbers(|(t, many)| if *many { 0 } else { t.array_oid }),
            ),
            (
                "typinput",
                texts(|(t, many)| {
                    if *many {
                        "array_in".to_owned()
                    } else {
                        format!("{}in", t.name)
                    }
                }),
            ),
            (
                "typoutput",
                texts(|(t, many)| {
                    if *many {
                        "array_out".to_owned()
                    } else {
                        format!("{}out", t.name)
                    }
                }),
            ),
            (
                "typreceive",
                texts(|(t, many)| {
                    if *many {
                        "array_recv".to_owned()
                    } else {
                        format!("{}recv", t.name)
                    }
                }),
            ),
            ("typnotnull", EachFlag(false)),
            ("typbasetype", EachNumber(0)),
            ("typtypmod", EachNumber(-1)),
            ("typndims", EachNumber(0)),
            ("typcollation", EachNumber(0)),
            ("typdefault", NoText),
            ("typacl", NoTexts),
        ],
    )?;
    Ok(vec![("pg_type", types)])
}

fn others() -> Result<Tables> {
    let namespace = table(
        NAMESPACES.len(),
        vec![
            (
                "oid",
                Numbers(NAMESPACES.iter().map(|(oid, _)| *oid).collect()),
            ),
            (
                "nspname",
                Texts(
                    NAMESPACES
                        .iter()
                        .map(|(_, name)| (*name).to_owned())
                        .collect(),
                ),
            ),
            ("nspowner", EachNumber(OWNER_OID)),
            ("nspacl", NoTexts),
        ],
    )?;
    let database = table(
        1,
        vec![
            ("oid", EachNumber(DATABASE_OID)),
            ("datname", EachText(DATABASE)),
            ("datdba", EachNumber(OWNER_OID)),
            ("encoding", EachNumber(6)),
            ("datlocprovider", EachText("c")),
            ("datistemplate", EachFlag(false)),
            ("datallowconn", EachFlag(true)),
            ("datconnlimit", EachNumber(-1)),
            ("datfrozenxid", EachNumber(0)),
            ("datminmxid", EachNumber(0)),
            ("dattablespace", EachNumber(1_663)),
            ("datcollate", EachText("C")),
            ("datctype", EachText("C")),
            ("daticulocale", NoText),
            ("daticurules", NoText),
            ("datcollversion", NoText),
            ("datacl", NoTexts),
        ],
    )?;
    let role = || {
        vec![
            ("oid", EachNumber(OWNER_OID)),
            ("rolname", EachText(OWNER)),
            ("rolsuper", EachFlag(false)),
            ("rolinherit", EachFlag(true)),
            ("rolcreaterole", EachFlag(false)),
            ("rolcreatedb", EachFlag(false)),
            ("rolcanlogin", EachFlag(false)),
            ("rolreplication", EachFlag(false)),
            ("rolbypassrls", EachFlag(false)),
            ("rolconnlimit", EachNumber(-1)),
            ("rolpassword", NoText),
            ("rolvaliduntil", NoText),
            ("rolconfig", NoTexts),
        ]
    };
    let tablespace = vec![
        ("oid", EachNumber(1_663)),
        ("spcname", EachText("pg_default")),
        ("spcowner", EachNumber(OWNER_OID)),
        ("spcacl", NoTexts),
        ("spcoptions", NoTexts),
    ];
    let user = vec![
        ("usename", EachText(OWNER)),
        ("usesysid", EachNumber(OWNER_OID)),
        ("usecreatedb", EachFlag(false)),
        ("usesuper", EachFlag(false)),
        ("passwd", NoText),
    ];
    let access = vec![
        ("oid", EachNumber(2)),
        ("amname", EachText("heap")),
        ("amhandler", EachText("heap_tableam_handler")),
        ("amtype", EachText("t")),
    ];
    // Nothing can be set: what holds is what held at the start.
    let values = || {
        Texts(
            SETTINGS
                .iter()
                .map(|(_, value)| (*value).to_owned())
                .collect(),
        )
    };
    let settings = table(
        SETTINGS.len(),
        vec![
            (
                "name",
                Texts(
                    SETTINGS
                        .iter()
                        .map(|(name, _)| (*name).to_owned())
                        .collect(),
                ),
            ),
            ("setting", values()),
            ("unit", NoText),
            ("category", EachText("Preset Options")),
            ("short_desc", EachText("")),
            ("context", EachText("internal")),
            ("vartype", EachText("string")),
            ("source", EachText("default")),
            ("extra_desc", NoText),
            ("min_val", NoText),
            ("max_val", NoText),
            ("enumvals", NoTexts),
            ("boot_val", values()),
            ("reset_val", values()),
            ("sourcefile", NoText),
            ("sourceline", NoNumber),
            ("pending_restart", EachFlag(false)),
        ],
    )?;
    Ok(vec![
        ("pg_namespace", namespace),
        ("pg_database", database),
        ("pg_roles", table(1, role())?),
        ("pg_authid", table(1, role())?),
        ("pg_tablespace", table(1, tablespace)?),
        ("pg_user", table(1, user)?),
        ("pg_am", table(1, access)?),
        ("pg_settings", settings),
    ])
}
