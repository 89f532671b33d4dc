//! Owns the functions of PostgreSQL by which clients read its catalogue. Most answer the same for all that is
//! asked, as there is one database, one owner, and nothing that could be changed.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array as _, ArrayRef, AsArray as _, BooleanArray, Int64Array, ListBuilder, StringArray,
    StringBuilder,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Int64Type};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature,
    Volatility,
};

use super::facts::{
    DATABASE, Facts, NAMESPACES, OWNER, OWNER_OID, format_type, parts, quoted, type_named,
};
use crate::cli::serve::SERVER_VERSION;
use crate::cli::serve::statement::SETTINGS;

/// What a function answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Answer {
    Text(&'static str),
    NoText,
    Flag(bool),
    Number(i64),
    NoNumber,
    Version,
    /// The schemas that names are looked for in, PostgreSQL's own among them where that is asked.
    Schemas,
    Setting,
    FormatType,
    Relation,
    RelationName,
    Type,
    Namespace,
    NamespaceName,
    Definition,
    Comment,
    Quoted,
    Parts,
}

const FUNCTIONS: &[(&str, Answer)] = &[
    ("version", Answer::Version),
    ("current_database", Answer::Text(DATABASE)),
    ("current_catalog", Answer::Text(DATABASE)),
    ("current_schema", Answer::Text("public")),
    ("current_schemas", Answer::Schemas),
    ("current_setting", Answer::Setting),
    ("current_user", Answer::Text(OWNER)),
    ("current_role", Answer::Text(OWNER)),
    ("session_user", Answer::Text(OWNER)),
    ("user", Answer::Text(OWNER)),
    ("pg_get_userbyid", Answer::Text(OWNER)),
    ("to_regrole", Answer::Number(OWNER_OID)),
    ("pg_encoding_to_char", Answer::Text("UTF8")),
    ("pg_client_encoding", Answer::Text("UTF8")),
    ("format_type", Answer::FormatType),
    ("to_regclass", Answer::Relation),
    ("pg_relation_name", Answer::RelationName),
    ("to_regtype", Answer::Type),
    ("to_regnamespace", Answer::Namespace),
    ("pg_namespace_name", Answer::NamespaceName),
    ("pg_get_viewdef", Answer::Definition),
    ("obj_description", Answer::Comment),
    ("col_description", Answer::NoText),
    ("shobj_description", Answer::NoText),
    ("quote_ident", Answer::Quoted),
    ("parse_ident", Answer::Parts),
    ("pg_table_is_visible", Answer::Flag(true)),
    ("pg_type_is_visible", Answer::Flag(true)),
    ("pg_function_is_visible", Answer::Flag(true)),
    ("has_table_privilege", Answer::Flag(true)),
    ("has_any_column_privilege", Answer::Flag(true)),
    ("has_column_privilege", Answer::Flag(true)),
    ("has_schema_privilege", Answer::Flag(true)),
    ("has_database_privilege", Answer::Flag(true)),
    ("has_function_privilege", Answer::Flag(true)),
    ("has_sequence_privilege", Answer::Flag(true)),
    ("pg_has_role", Answer::Flag(true)),
    ("pg_is_in_recovery", Answer::Flag(false)),
    ("pg_is_other_temp_schema", Answer::Flag(false)),
    ("pg_relation_is_publishable", Answer::Flag(false)),
    ("pg_relation_is_updatable", Answer::Number(0)),
    ("pg_backend_pid", Answer::Number(0)),
    ("pg_my_temp_schema", Answer::Number(0)),
    ("txid_current", Answer::Number(0)),
    ("pg_relation_size", Answer::NoNumber),
    ("pg_total_relation_size", Answer::NoNumber),
    ("pg_table_size", Answer::NoNumber),
    ("pg_indexes_size", Answer::NoNumber),
    ("pg_database_size", Answer::NoNumber),
    ("pg_tablespace_size", Answer::NoNumber),
    ("pg_stat_get_numscans", Answer::NoNumber),
    ("pg_size_pretty", Answer::NoText),
    ("pg_get_expr", Answer::NoText),
    ("pg_get_partkeydef", Answer::NoText),
    ("pg_get_constraintdef", Answer::NoText),
    ("pg_get_indexdef", Answer::NoText),
    ("pg_get_ruledef", Answer::NoText),
    ("pg_get_triggerdef", Answer::NoText),
    ("pg_get_functiondef", Answer::NoText),
    ("pg_get_function_result", Answer::NoText),
    ("pg_get_function_arguments", Answer::NoText),
    ("pg_get_function_identity_arguments", Answer::NoText),
    ("pg_get_serial_sequence", Answer::NoText),
    ("pg_get_statisticsobjdef_columns", Answer::NoText),
    ("pg_tablespace_location", Answer::NoText),
    ("inet_server_addr", Answer::NoText),
    ("inet_client_addr", Answer::NoText),
];

pub(super) fn all(facts: &Arc<Facts>) -> Vec<ScalarUDF> {
    let one = |(name, answer): &(&'static str, Answer)| {
        let any = vec![TypeSignature::Nullary, TypeSignature::VariadicAny];
        ScalarUDF::from(Function {
            name,
            answer: *answer,
            signature: Signature::one_of(any, Volatility::Immutable),
            facts: Arc::clone(facts),
        })
    };
    FUNCTIONS.iter().map(one).collect()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Function {
    name: &'static str,
    answer: Answer,
    signature: Signature,
    facts: Arc<Facts>,
}

impl ScalarUDFImpl for Function {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.answer {
            Answer::Flag(_) => DataType::Boolean,
            Answer::Number(_)
            | Answer::NoNumber
            | Answer::Relation
            | Answer::Type
            | Answer::Namespace => DataType::Int64,
            Answer::Schemas | Answer::Parts => {
                DataType::List(Arc::new(Field::new("item", DataType::Utf8, true)))
            }
            _ => DataType::Utf8,
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let is_one = args
            .args
            .iter()
            .all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        // What is asked of no column is answered once.
        let rows = if is_one { 1 } else { rows };
        let given = args
            .args
            .into_iter()
            .map(|arg| arg.into_array(rows))
            .collect::<Result<Vec<_>>>()?;
        let answer = self.answers(&Given(given), rows)?;
        if is_one {
            let one = datafusion::scalar::ScalarValue::try_from_array(&answer, 0)?;
            return Ok(ColumnarValue::Scalar(one));
        }
        Ok(ColumnarValue::Array(answer))
    }
}

/// The arguments of a call, read as what a function wants them to be.
struct Given(Vec<ArrayRef>);

impl Given {
    fn texts(&self, index: usize) -> Result<Option<StringArray>> {
        let Some(array) = self.0.get(index) else {
            return Ok(None);
        };
        Ok(Some(
            cast(array, &DataType::Utf8)?.as_string::<i32>().clone(),
        ))
    }

    /// What is no number is NULL.
    fn numbers(&self, index: usize) -> Result<Option<Int64Array>> {
        let Some(array) = self.0.get(index) else {
            return Ok(None);
        };
        let numbers = cast(array, &DataType::Int64)?;
        Ok(Some(numbers.as_primitive::<Int64Type>().clone()))
    }
}

fn text_at(texts: Option<&StringArray>, row: usize) -> Option<&str> {
    texts
        .filter(|texts| !texts.is_null(row))
        .map(|texts| texts.value(row))
}

fn number_at(numbers: Option<&Int64Array>, row: usize) -> Option<i64> {
    numbers
        .filter(|numbers| !numbers.is_null(row))
        .map(|numbers| numbers.value(row))
}

impl Function {
    fn answers(&self, given: &Given, rows: usize) -> Result<ArrayRef> {
        let texts = |of: &dyn Fn(usize) -> Option<String>| -> ArrayRef {
            Arc::new((0..rows).map(of).collect::<StringArray>())
        };
        let numbers = |of: &dyn Fn(usize) -> Option<i64>| -> ArrayRef {
            Arc::new((0..rows).map(of).collect::<Int64Array>())
        };
        let facts = &self.facts;
        Ok(match self.answer {
            Answer::Text(text) => texts(&|_| Some(text.to_owned())),
            Answer::NoText => texts(&|_| None),
            Answer::Flag(flag) => Arc::new(BooleanArray::from(vec![flag; rows])),
            Answer::Number(number) => numbers(&|_| Some(number)),
            Answer::NoNumber => numbers(&|_| None),
            Answer::Version => {
                let ours = env!("CARGO_PKG_VERSION");
                texts(&|_| {
                    Some(format!(
                        "PostgreSQL {SERVER_VERSION} (idleproof {ours}, read only)"
                    ))
                })
            }
            Answer::Setting => {
                let name = given.texts(0)?;
                texts(&|row| {
                    let name = text_at(name.as_ref(), row)?.to_ascii_lowercase();
                    let known = SETTINGS.iter().find(|(known, _)| *known == name);
                    known.map(|(_, value)| (*value).to_owned())
                })
            }
            Answer::FormatType => {
                let (oid, modifier) = (given.numbers(0)?, given.numbers(1)?);
                texts(&|row| {
                    let modifier = number_at(modifier.as_ref(), row).unwrap_or(-1);
                    Some(format_type(number_at(oid.as_ref(), row)?, modifier))
                })
            }
            Answer::Relation => {
                let name = given.texts(0)?;
                numbers(&|row| facts.oid_of(text_at(name.as_ref(), row)?))
            }
            Answer::RelationName => {
                let oid = given.numbers(0)?;
                texts(&|row| {
                    let oid = number_at(oid.as_ref(), row)?;
                    let name = facts.name_of(oid).map(quoted);
                    Some(name.unwrap_or_else(|| {
                        if oid == 0 {
                            "-".to_owned()
                        } else {
                            oid.to_string()
                        }
                    }))
                })
            }
            Answer::Type => {
                let name = given.texts(0)?;
                numbers(&|row| type_named(text_at(name.as_ref(), row)?))
            }
            Answer::Namespace => {
                let name = given.texts(0)?;
                numbers(&|row| {
                    let name = parts(text_at(name.as_ref(), row)?)?.pop()?;
                    NAMESPACES
                        .iter()
                        .find(|(_, known)| *known == name)
                        .map(|(oid, _)| *oid)
                })
            }
            Answer::NamespaceName => {
                let oid = given.numbers(0)?;
                texts(&|row| {
                    let oid = number_at(oid.as_ref(), row)?;
                    let known = NAMESPACES.iter().find(|(known, _)| *known == oid);
                    Some(known.map_or_else(|| oid.to_string(), |(_, name)| (*name).to_owned()))
                })
            }
            Answer::Definition => {
                let oid = given.texts(0)?;
                texts(&|row| {
                    let oid = facts.oid_of(text_at(oid.as_ref(), row)?)?;
                    facts.relation(oid)?.definition.clone()
                })
            }
            Answer::Comment => {
                let oid = given.texts(0)?;
                texts(&|row| {
                    let oid = facts.oid_of(text_at(oid.as_ref(), row)?)?;
                    facts.relation(oid)?.about.clone()
                })
            }
            Answer::Quoted => {
                let name = given.texts(0)?;
                texts(&|row| text_at(name.as_ref(), row).map(quoted))
            }
            Answer::Schemas => {
                let with_own = given.texts(0)?;
                lists(rows, &|row| {
                    let with_own = text_at(with_own.as_ref(), row)? == "true";
                    let own = with_own.then(|| "pg_catalog".to_owned());
                    Some(own.into_iter().chain(["public".to_owned()]).collect())
                })
            }
            Answer::Parts => {
                let name = given.texts(0)?;
                lists(rows, &|row| parts(text_at(name.as_ref(), row)?))
            }
        })
    }
}

fn lists(rows: usize, of: &dyn Fn(usize) -> Option<Vec<String>>) -> ArrayRef {
    let mut builder = ListBuilder::new(StringBuilder::new());
    for row in 0..rows {
        let items = of(row);
        let is_some = items.is_some();
        for item in items.into_iter().flatten() {
            builder.values().append_value(item);
        }
        builder.append(is_some);
    }
    Arc::new(builder.finish())
}
