//! `idleproof serve` as its clients meet it: PostgreSQL's own psql, a Python driver, and clients that mean
//! harm. A publication comes while it serves.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::peers::peer;
use crate::sample::{configuration, idleproof, run, text};

pub(crate) struct Serving {
    process: Child,
    log: BufReader<ChildStderr>,
    pub(crate) port: u16,
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Serving {
    pub(crate) fn start(config: &Path, args: &[&str]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_idleproof"))
            .args(["serve", "--listen", "127.0.0.1:0", "--config"])
            .arg(config)
            .args(args)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap());
        let mut line = String::new();
        log.read_line(&mut line).unwrap();
        let port = line
            .split_once(" on 127.0.0.1:")
            .and_then(|(_, rest)| rest.split_once(';')?.0.parse().ok())
            .unwrap_or_else(|| panic!("{line}"));
        Self { process, log, port }
    }

    pub(crate) fn psql(&self, options: &str, arguments: &[&str]) -> Output {
        let to = format!(
            "host=127.0.0.1 port={} user=ann dbname=idleproof {options}",
            self.port
        );
        Command::new("psql")
            .args(["-X", "-d", &to])
            .args(arguments)
            .env("PGCONNECT_TIMEOUT", "20")
            .env_remove("PGPASSWORD")
            .output()
            .unwrap()
    }

    /// What a query answers, without a head.
    pub(crate) fn ask(&self, options: &str, query: &str) -> String {
        let output = self.psql(options, &["-At", "-c", query]);
        assert!(output.status.success(), "{query}\n{}", text(&output.stderr));
        text(&output.stdout).trim_end().to_owned()
    }

    fn stream(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        stream
    }

    /// A connection that is logged in; those before it may take a moment to be gone.
    fn enter(&self) -> TcpStream {
        for _ in 0..100 {
            let mut stream = self.stream();
            stream.write_all(&startup()).unwrap();
            let (mut answer, mut bytes) = (Vec::new(), [0; 1024]);
            while let Ok(count @ 1..) = stream.read(&mut bytes) {
                answer.extend_from_slice(&bytes[..count]);
                if answer.ends_with(b"Z\0\0\0\x05I") {
                    return stream;
                }
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("nobody is let in");
    }

    /// [`Self::throw`] after a login.
    fn throw_inside(&self, bytes: &[u8]) -> Vec<u8> {
        let all = [startup(), bytes.to_vec()].concat();
        for _ in 0..100 {
            let answer = self.throw(&all);
            if !text(&answer).contains("53300") {
                return answer;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("nobody is let in");
    }

    /// Sends bytes and returns what comes until the other side closes.
    fn throw(&self, bytes: &[u8]) -> Vec<u8> {
        let mut stream = self.stream();
        let _ = stream.write_all(bytes);
        let mut answer = Vec::new();
        // Closed with bytes unread, a connection is reset: that is an end too.
        let _ = stream.read_to_end(&mut answer);
        answer
    }

    /// Ends it as a service manager would; everything that it said since.
    pub(crate) fn end(mut self) -> String {
        let pid = self.process.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &pid])
                .status()
                .unwrap()
                .success()
        );
        let mut said = String::new();
        self.log.read_to_string(&mut said).unwrap();
        assert_eq!(self.process.wait().unwrap().code(), Some(0), "{said}");
        said
    }
}

fn sql(query: &str) -> String {
    let config = run().config();
    let output = idleproof(&[
        "sql",
        query,
        "-o",
        "csv",
        "--config",
        &config.to_string_lossy(),
    ]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn what_others_can_reach_needs_tls_and_passwords() {
    for args in [
        &["--listen", "0.0.0.0:0"][..],
        &["--listen", "[::]:0", "--user-file", "u"],
        &[
            "--listen",
            "192.0.2.1:5433",
            "--tls-cert",
            "c",
            "--tls-key",
            "k",
        ],
        &["--tls-cert", "c"],
        &["--listen", "localhost"],
    ] {
        let output = idleproof(&[&["serve", "--config", "nowhere.toml"], args].concat());
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(!text(&output.stderr).contains("nowhere"), "{args:?}");
    }
}

#[test]
fn psql_sees_what_sql_prints() {
    if peer("psql").is_none() {
        return;
    }
    let serving = Serving::start(&run().config(), &[]);
    for query in [
        "SELECT class, COUNT(*) AS rows, SUM(effective_cost_usd) AS usd FROM v_ledger GROUP BY class ORDER BY class",
        "SELECT handle, net_monthly_usd, confidence FROM v_findings ORDER BY handle",
        "SELECT workload_name, replicas, model FROM v_workloads ORDER BY cluster, namespace, workload_name, valid_from",
        "SELECT MAX(throttle_ratio) AS throttled, MAX(kv_usage_peak) AS kv FROM v_workload_hours",
        "SELECT 1 AS one, 'a,\"b\"' AS two, NULL AS three",
    ] {
        let output = serving.psql("", &["--csv", "-c", query]);
        assert!(output.status.success(), "{query}\n{}", text(&output.stderr));
        assert_eq!(text(&output.stdout), sql(query), "{query}");
    }
    // Every view can be read, whatever the types of its columns.
    let views = serving.ask(
        "",
        "SELECT table_name FROM information_schema.tables WHERE table_name LIKE 'v\\_%' ORDER BY 1",
    );
    assert!(views.lines().count() > 15, "{views}");
    for view in views.lines() {
        serving.ask("", &format!("SELECT * FROM {view} LIMIT 3"));
    }
    let plan = serving.ask("", "EXPLAIN SELECT 1");
    assert!(plan.contains("plan"), "{plan}");
    assert_eq!(serving.ask("", "SELECT 1; SELECT 2"), "1\n2");

    let refused = serving.psql("", &["-v", "VERBOSITY=verbose", "-c", "DELETE FROM ledger"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        text(&refused.stderr).contains("25006"),
        "{}",
        text(&refused.stderr)
    );
    let said = serving.end();
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn a_python_driver_reads_types_binds_parameters_and_stops_queries() {
    let Some(python) = python_with("psycopg") else {
        return;
    };
    let serving = Serving::start(&run().config(), &["--statement-timeout", "40"]);
    let output = Command::new(python)
        .arg(crate::sample::root().join("tests/peers/pg_client.py"))
        .arg(serving.port.to_string())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    // The engine may panic where a join has no memory left (a client was told, and went on): that it ends is all.
    serving.end();
}

/// The tests' Python where it has a module.
pub(crate) fn python_with(module: &str) -> Option<PathBuf> {
    let peers = std::env::var("IDLEPROOF_PEERS").unwrap_or_else(|_| {
        let home = std::env::var("HOME").unwrap_or_default();
        format!("{home}/.cache/idleproof-peers")
    });
    let python = Path::new(&peers).join("bin/python3");
    let probe = Command::new(&python)
        .args(["-c", &format!("import {module}")])
        .output();
    if probe.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    let why = format!("python3 with {module} is not installed: see tests/requirements.txt");
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{why}");
    println!("skipped: {why}");
    None
}

#[test]
fn passwords_are_proved_and_connections_encrypted() {
    if peer("psql").is_none() || peer_openssl().is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let made = Command::new("openssl")
        .args("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1".split(' '))
        .args(["-keyout", &path("key"), "-out", &path("crt")])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", text(&made.stderr));
    // The second is `pencil`, as PostgreSQL keeps it (RFC 7677's example).
    let users = "# who may\nann:s3cret: with a colon\nbob:SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=\n";
    std::fs::write(path("users"), users).unwrap();
    let serving = Serving::start(
        &run().config(),
        &[
            "--user-file",
            &path("users"),
            "--tls-cert",
            &path("crt"),
            "--tls-key",
            &path("key"),
        ],
    );
    let verified = format!("sslmode=verify-full sslrootcert={}", path("crt"));
    let ann = "password='s3cret: with a colon'";
    let one = |options: &str| serving.psql(options, &["-At", "-c", "SELECT 1"]);
    let good = one(&format!("{verified} {ann}"));
    assert!(good.status.success(), "{}", text(&good.stderr));
    let bob = one(&format!("{verified} user=bob password=pencil"));
    assert!(bob.status.success(), "{}", text(&bob.stderr));
    for (options, why) in [
        (
            format!("{verified} password=wrong"),
            "password authentication failed",
        ),
        (
            format!("{verified} user=eve {ann}"),
            "password authentication failed",
        ),
        (
            format!("{verified} user=bob {ann}"),
            "password authentication failed",
        ),
        (format!("sslmode=disable {ann}"), "encrypted"),
        (verified.clone(), "no password supplied"),
    ] {
        let refused = one(&options);
        assert_eq!(refused.status.code(), Some(2), "{options}");
        assert!(
            text(&refused.stderr).contains(why),
            "{}",
            text(&refused.stderr)
        );
    }
    // Bytes before the handshake would be read as if they were encrypted.
    let early = [&[0, 0, 0, 8, 4, 210, 22, 47][..], b"Q\0\0\0\x0dselect 1\0"].concat();
    assert!(serving.throw(&early).len() <= 1);
    let said = serving.end();
    assert!(
        !said.contains("s3cret") && !said.contains("panicked"),
        "{said}"
    );

    std::fs::write(path("users"), "ann\n").unwrap();
    let config = run().config().to_string_lossy().into_owned();
    let bad = idleproof(&["serve", "--config", &config, "--user-file", &path("users")]);
    assert_eq!(bad.status.code(), Some(2));
    assert!(
        text(&bad.stderr).contains("line 1"),
        "{}",
        text(&bad.stderr)
    );
}

fn peer_openssl() -> Option<()> {
    let there = Command::new("openssl").arg("version").output().is_ok();
    assert!(
        there || std::env::var("CI").as_deref() != Ok("true"),
        "openssl is not installed"
    );
    there.then_some(())
}

/// A client's first message.
fn startup() -> Vec<u8> {
    let body = b"\0\x03\0\0user\0ann\0\0";
    [&(body.len() as i32 + 4).to_be_bytes(), body.as_slice()].concat()
}

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    [
        &[kind],
        (body.len() as i32 + 4).to_be_bytes().as_slice(),
        body,
    ]
    .concat()
}

#[test]
fn clients_that_mean_harm_are_let_go_and_the_rest_are_answered() {
    if peer("psql").is_none() {
        return;
    }
    let serving = Serving::start(
        &run().config(),
        &["--max-connections", "2", "--idle-timeout", "5"],
    );
    let has = |bytes: &[u8], part: &str| text(bytes).contains(part);
    // Before a login: garbage, lengths that lie, a protocol that nobody has.
    for bytes in [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".as_slice(),
        &[0xff; 64],
        &[0, 0, 0, 0, 0, 3, 0, 0],
        &[0, 0, 0, 8, 0, 3, 0, 0],
        &[0x7f, 0xff, 0xff, 0xff, 0, 3, 0, 0],
        b"\0\0\0\x0c\0\x02\0\0abc\0",
    ] {
        assert!(serving.throw(bytes).is_empty(), "{bytes:?}");
    }
    // After it: counts without values, a message of two gigabytes, one of no kind.
    for bytes in [
        message(b'B', b"\0\0\xff\xff\xff\xff"),
        message(b'P', b"\0select 1\0\xff\xff"),
        message(b'!', b"x"),
        vec![b'Q', 0x7f, 0xff, 0xff, 0xff, b'x'],
        vec![b'Q', 0, 0, 0, 1],
    ] {
        let answer = serving.throw_inside(&bytes);
        assert!(has(&answer, "08P01"), "{bytes:?}: {}", text(&answer));
    }
    // An error among extended messages drops the rest up to the Sync, and no further.
    let conversation = [
        message(b'E', b"nothing\0\0\0\0\0"),
        message(b'P', b"\0select 1\0\0\0"),
        message(b'S', b""),
        message(b'Q', b"select 'still here'\0"),
        message(b'X', b""),
    ];
    let answer = serving.throw_inside(&conversation.concat());
    assert!(
        has(&answer, "34000") && has(&answer, "still here"),
        "{}",
        text(&answer)
    );
    // A statement without end is one message, and so is one too many connections.
    let mut open: Vec<TcpStream> = (0..2).map(|_| serving.enter()).collect();
    let third = serving.throw(&startup());
    assert!(has(&third, "53300"), "{}", text(&third));
    // Who says nothing is let go, and there is room again.
    let started = Instant::now();
    let mut rest = Vec::new();
    open[0].read_to_end(&mut rest).unwrap();
    assert!(has(&rest, "57P05"), "{}", text(&rest));
    assert!(started.elapsed() < Duration::from_secs(25));
    drop(open);
    assert_eq!(serving.ask("", "SELECT 1"), "1");
    // Who never says who it is, too.
    let mut slow = serving.stream();
    slow.write_all(&[0, 0]).unwrap();
    let mut nothing = Vec::new();
    slow.read_to_end(&mut nothing).unwrap();
    assert!(nothing.is_empty());
    let said = serving.end();
    assert!(!said.contains("panicked"), "{said}");
}

#[test]
fn a_later_connection_sees_a_later_publication() {
    if peer("psql").is_none() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let lake = folder.path().join("lake");
    std::fs::create_dir(&lake).unwrap();
    crate::tsdb::copy(&run().folder.path().join("lake"), &lake);
    let config = folder.path().join("idleproof.toml");
    std::fs::write(&config, configuration(folder.path())).unwrap();
    let newest = Serving::start(&config, &[]);
    let pinned = Serving::start(&config, &["--as-of", "1"]);
    let count = "SELECT COUNT(*) > 0 FROM v_findings";
    assert_eq!(newest.ask("", count), "t");
    // The next run speaks for no cluster: its findings are none.
    let first = lake.join("publications/00000000000000000001.json");
    let text = std::fs::read_to_string(&first).unwrap();
    let mut publication: serde_json::Value = serde_json::from_str(&text).unwrap();
    publication["number"] = 2.into();
    publication["runs"] = serde_json::json!({});
    let second = lake.join("publications/00000000000000000002.json");
    std::fs::write(second, publication.to_string()).unwrap();
    assert_eq!(newest.ask("", count), "f");
    assert_eq!(pinned.ask("", count), "t");
}
