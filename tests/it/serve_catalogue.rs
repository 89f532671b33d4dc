//! What tools ask of `idleproof serve` before a person asks anything: psql's `\d`, SQLAlchemy's reflection,
//! JDBC's metadata, and the queries by which dashboards find tables and columns.

use std::path::Path;
use std::process::Command;

use crate::peers::peer;
use crate::sample::{root, run, text};
use crate::serve::{Serving, python_with};

#[test]
fn psql_lists_and_describes() {
    if peer("psql").is_none() {
        return;
    }
    let serving = Serving::start(&run().config(), &[]);
    let tell = |command: &str| {
        let output = serving.psql("", &["-At", "-c", command]);
        let (said, wrong) = (text(&output.stdout), text(&output.stderr));
        assert!(
            output.status.success() && wrong.is_empty(),
            "{command}\n{wrong}"
        );
        said
    };
    let views = tell("\\dv");
    assert!(
        views.contains("public|v_findings|view|idleproof\n"),
        "{views}"
    );
    assert!(!views.contains("|table|"), "{views}");
    let tables = tell("\\dt");
    assert!(
        tables.contains("public|ledger|table|idleproof\n"),
        "{tables}"
    );
    assert!(tell("\\d").lines().count() > views.lines().count());
    assert_eq!(tell("\\dv v_ledger"), "public|v_ledger|view|idleproof\n");

    let described = tell("\\d v_ledger");
    for line in [
        "hour|timestamp without time zone|||",
        "cluster|text|",
        "ms|bigint|",
        "effective_cost_usd|numeric(",
    ] {
        assert!(described.contains(line), "{line}\n{described}");
    }
    // All of what is asked of a table: keys, indexes, policies, triggers, publications, heirs.
    let table = tell("\\d ledger");
    assert!(table.contains("node|text||not null|\n"), "{table}");
    // What stands below a table is printed only where more than rows are.
    let more = serving.psql("", &["-A", "-c", "\\d+ v_coverage"]);
    let more = text(&more.stdout);
    assert!(
        more.contains("View definition:") && more.contains("FROM ledger"),
        "{more}"
    );
    assert!(tell("\\dv+ v_ledger").contains("Where every GPU-millisecond went"));
    assert!(tell("\\l").starts_with("idleproof|idleproof|UTF8|"));
    assert_eq!(tell("\\dn"), "public|idleproof\n");
    assert!(tell("\\du").starts_with("idleproof|"));
    assert!(tell("\\sv v_coverage").contains("CREATE OR REPLACE VIEW public.v_coverage"));
    for nothing in [
        "\\di",
        "\\df",
        "\\dT",
        "\\dx",
        "\\ds",
        "\\dm",
        "\\dd",
        "\\da",
        "\\dc",
        "\\dD",
        "\\dE",
        "\\des",
        "\\det",
        "\\deu",
        "\\dew",
        "\\dF",
        "\\dFd",
        "\\dFp",
        "\\dFt",
        "\\dL",
        "\\dP",
        "\\drds",
        "\\dRp",
        "\\dRs",
        "\\dX",
        "\\dy",
        "\\dAc",
        "\\dAf",
        "\\dAo",
        "\\dAp",
        "\\ddp",
        "\\do",
        "\\dO",
        "\\dC",
        "\\dl",
        "\\dconfig",
    ] {
        // Of relations psql says that there are none, of the rest it says nothing.
        let output = serving.psql("", &["-At", "-c", nothing]);
        let (said, word) = (text(&output.stdout), text(&output.stderr));
        assert!(
            output.status.success() && said.is_empty(),
            "{nothing}\n{said}"
        );
        let word = word.trim();
        assert!(
            word.is_empty() || word.starts_with("Did not find any "),
            "{nothing}\n{word}"
        );
    }
    for command in ["\\l+", "\\dn+", "\\dp", "\\db", "\\d+ ledger", "\\d+"] {
        assert!(!tell(command).is_empty(), "{command}");
    }
    // Who asks for what is not there is told so, and is not let write.
    let missing = serving.psql("", &["-c", "\\d v_nothing"]);
    assert!(text(&missing.stderr).contains("Did not find any relation"));
    for statement in [
        "DELETE FROM pg_catalog.pg_class",
        "INSERT INTO pg_class SELECT * FROM pg_class",
        "CREATE TABLE pg_catalog.t (a INT)",
        "WITH x AS (SELECT 1) INSERT INTO information_schema.tables SELECT * FROM x",
    ] {
        let refused = serving.psql("", &["-v", "VERBOSITY=verbose", "-c", statement]);
        let why = text(&refused.stderr);
        assert!(
            ["25006", "42601", "0A000"]
                .iter()
                .any(|code| why.contains(code)),
            "{statement}\n{why}"
        );
    }
    let said = serving.end();
    assert!(!said.contains("panicked"), "{said}");
}

/// The forms in which dashboards and editors ask; each with what it must find.
const ASKED: &[(&str, &str)] = &[
    // A dashboard that offers tables of the schemas on the search path.
    (
        "SELECT CASE WHEN quote_ident(table_schema) IN (SELECT CASE WHEN trim(s[i]) = '\"$user\"' THEN user \
         ELSE trim(s[i]) END FROM generate_series(array_lower(string_to_array(current_setting('search_path'), ','), 1), \
         array_upper(string_to_array(current_setting('search_path'), ','), 1)) AS i, \
         string_to_array(current_setting('search_path'), ',') s) THEN quote_ident(table_name) \
         ELSE quote_ident(table_schema) || '.' || quote_ident(table_name) END AS \"table\" \
         FROM information_schema.tables WHERE quote_ident(table_schema) NOT IN ('information_schema', 'pg_catalog') \
         AND table_name = 'v_ledger'",
        "v_ledger",
    ),
    // … and of a table's columns, by their types.
    (
        "SELECT quote_ident(column_name) AS \"column\", data_type AS \"type\" FROM information_schema.columns \
         WHERE CASE WHEN array_length(parse_ident('v_ledger'), 1) = 2 \
         THEN quote_ident(table_schema) = (parse_ident('v_ledger'))[1] ELSE quote_ident(table_name) = 'v_ledger' END \
         AND data_type IN ('timestamp without time zone', 'timestamp with time zone') AND column_name = 'hour'",
        "hour|timestamp without time zone",
    ),
    // What may be read, over all kinds of relations.
    (
        "WITH rights AS (SELECT t.schemaname, t.objectname, pg_catalog.has_any_column_privilege(current_user, \
         '\"' || replace(t.schemaname, '\"', '\"\"') || '\".\"' || replace(t.objectname, '\"', '\"\"') || '\"', 'select') AS may \
         FROM (SELECT schemaname, tablename AS objectname FROM pg_catalog.pg_tables UNION \
         SELECT schemaname, viewname FROM pg_catalog.pg_views UNION \
         SELECT schemaname, matviewname FROM pg_catalog.pg_matviews) t \
         WHERE t.schemaname !~ '^pg_' AND pg_catalog.has_schema_privilege(current_user, t.schemaname, 'usage')) \
         SELECT may FROM rights WHERE objectname = 'v_findings'",
        "t",
    ),
    // Relations with their comments and statistics that nobody has.
    (
        "SELECT n.nspname, c.relname, d.description IS NOT NULL, stat.n_live_tup FROM pg_catalog.pg_class AS c \
         INNER JOIN pg_catalog.pg_namespace AS n ON c.relnamespace = n.oid \
         LEFT JOIN pg_catalog.pg_description AS d ON c.oid = d.objoid AND d.objsubid = '0' AND d.classoid = 'pg_class'::regclass \
         LEFT JOIN pg_stat_user_tables AS stat ON n.nspname = stat.schemaname AND c.relname = stat.relname \
         WHERE n.nspname !~ '^pg_' AND c.relkind IN ('r', 'p', 'v', 'f', 'm') AND c.relname = 'v_ledger'",
        "public|v_ledger|t|",
    ),
    // Everything of a row, and its number before it.
    (
        "SELECT n.oid, n.* FROM pg_catalog.pg_namespace n WHERE n.nspname = 'public'",
        "2200|public|10|",
    ),
    (
        "SELECT attname, atttypid::regtype::text FROM pg_attribute WHERE attrelid = 'public.v_ledger'::regclass::oid \
         AND attname = 'ms'",
        "ms|bigint",
    ),
    (
        "SELECT relname FROM pg_class WHERE relkind = ANY ('{v,m}') AND relname LIKE 'v/_led%' ESCAPE '/'",
        "v_ledger",
    ),
    ("SELECT COUNT(*) FROM pg_catalog.pg_index", "0"),
    (
        "SELECT EXISTS (SELECT 1 FROM pg_constraint WHERE contype = 'p'), NOT EXISTS (SELECT 1 FROM pg_trigger)",
        "f|t",
    ),
    (
        "SELECT current_database(), current_schema, current_schemas(true), pg_get_userbyid(10)",
        "idleproof|public|{pg_catalog,public}|idleproof",
    ),
    (
        "SELECT typname, typelem::regtype FROM pg_type WHERE oid = to_regtype('bigint[]')",
        "_int8|bigint",
    ),
    (
        "SELECT to_regclass('nothing'), 'pg_class'::regclass",
        "|1259",
    ),
    (
        "SELECT COUNT(*) > 0 FROM idleproof.public.v_ledger WHERE cluster = 'prod-a'",
        "t",
    ),
    // A name of a query's own hides the catalogue's.
    (
        "WITH pg_index AS (SELECT 7 AS a) SELECT a FROM pg_index",
        "7",
    ),
];

#[test]
fn dashboards_find_tables_and_columns() {
    if peer("psql").is_none() {
        return;
    }
    let serving = Serving::start(&run().config(), &[]);
    for (query, expected) in ASKED {
        assert_eq!(serving.ask("", query), *expected, "{query}");
    }
    let said = serving.end();
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn sqlalchemy_reflects_every_view() {
    let Some(python) = python_with("sqlalchemy") else {
        return;
    };
    let serving = Serving::start(&run().config(), &[]);
    let output = Command::new(python)
        .arg(root().join("tests/peers/pg_reflect.py"))
        .arg(serving.port.to_string())
        .output()
        .unwrap();
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{said}");
    serving.end();
}

#[test]
fn jdbc_reads_its_metadata() {
    // Debian's libpostgresql-jdbc-java, and a java that can compile.
    let driver = Path::new("/usr/share/java/postgresql.jar");
    let is_there = driver.exists() && Command::new("javac").arg("-version").output().is_ok();
    if !is_there {
        println!("skipped: libpostgresql-jdbc-java or a JDK is not installed");
        assert!(std::env::var_os("CI").is_none(), "CI needs both");
        return;
    }
    let serving = Serving::start(&run().config(), &[]);
    let output = Command::new("java")
        .arg("-cp")
        .arg(driver)
        .arg(root().join("tests/peers/Catalogue.java"))
        .arg(serving.port.to_string())
        .output()
        .unwrap();
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{said}");
    serving.end();
}

#[test]
fn a_query_without_memory_is_one_message() {
    let config = run().config().to_string_lossy().into_owned();
    let wide = "SELECT COUNT(*) FROM v_ledger a CROSS JOIN v_ledger b CROSS JOIN v_ledger c \
                WHERE a.seconds <> b.seconds + c.seconds";
    let output =
        crate::sample::idleproof(&["sql", "--config", &config, "--memory-mib", "16", wide]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("--memory-mib"), "{said}");
    assert_eq!(said.trim_end().lines().count(), 1, "{said}");
    for trace in ["panicked", "backtrace", "bug", ".rs:"] {
        assert!(!said.contains(trace), "{said}");
    }
    if peer("psql").is_none() {
        return;
    }
    let serving = Serving::start(&run().config(), &["--memory-mib", "16"]);
    let output = serving.psql("", &["-v", "VERBOSITY=verbose", "-c", wide]);
    let why = text(&output.stderr);
    assert!(
        why.contains("53200") && why.contains("--memory-mib"),
        "{why}"
    );
    assert_eq!(serving.ask("", "SELECT 1"), "1");
    let said = serving.end();
    assert!(
        !said.contains("panicked") && !said.contains("backtrace"),
        "{said}"
    );
}
