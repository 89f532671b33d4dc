//! Owns the plain file server of the benches: it answers a request with the bytes that a real server
//! once sent for the same request, and where it has none and knows that server, asks and keeps them.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};

const MAX_HEAD_BYTES: usize = 64 << 10;
const MAX_BODY_BYTES: usize = 1 << 20;

struct Request {
    /// Method, path and body: what the answer depends on.
    key: String,
    head: String,
    body: Vec<u8>,
}

/// Serves for ever; the port is told to `ready`.
pub(crate) fn serve(
    folder: &Path,
    upstream: Option<&str>,
    ready: impl FnOnce(u16),
) -> io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    ready(listener.local_addr()?.port());
    for stream in listener.incoming() {
        let (folder, upstream) = (folder.to_owned(), upstream.map(str::to_owned));
        let stream = stream?;
        std::thread::spawn(move || {
            // A client that went away is its own affair.
            let _ = answer(stream, &folder, upstream.as_deref());
        });
    }
    Ok(())
}

fn answer(mut stream: TcpStream, folder: &Path, upstream: Option<&str>) -> io::Result<()> {
    let request = read_request(&mut stream)?;
    let path: PathBuf = folder.join(&request.key);
    if !path.is_file() {
        let Some(upstream) = upstream else {
            return stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
        };
        let mut server = TcpStream::connect(upstream)?;
        let head = request.head.trim_end();
        write!(server, "{head}\r\nConnection: close\r\n\r\n")?;
        server.write_all(&request.body)?;
        let half = path.with_extension("part");
        let mut file = std::fs::File::create(&half)?;
        let mut piece = vec![0; 1 << 20];
        loop {
            let count = server.read(&mut piece)?;
            if count == 0 {
                break;
            }
            file.write_all(&piece[..count])?;
            stream.write_all(&piece[..count])?;
        }
        return std::fs::rename(half, path);
    }
    io::copy(&mut std::fs::File::open(path)?, &mut stream)?;
    Ok(())
}

fn read_request(stream: &mut TcpStream) -> io::Result<Request> {
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    let end = loop {
        if let Some(at) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        let count = stream.read(&mut piece)?;
        if count == 0 || bytes.len() > MAX_HEAD_BYTES {
            return Err(bad("no whole request"));
        }
        bytes.extend_from_slice(&piece[..count]);
    };
    let mut body = bytes.split_off(end);
    let head = String::from_utf8(bytes).map_err(|_| bad("a head that is no text"))?;
    let length = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse::<usize>().ok())
        .unwrap_or(0)
        .min(MAX_BODY_BYTES);
    while body.len() < length {
        let count = stream.read(&mut piece)?;
        if count == 0 {
            return Err(bad("a body that is cut short"));
        }
        body.extend_from_slice(&piece[..count]);
    }
    let first = head.lines().next().unwrap_or("");
    let sum = crc32c::crc32c_append(crc32c::crc32c(first.as_bytes()), &body);
    Ok(Request {
        key: format!("{sum:08x}-{}", first.len() + body.len()),
        head,
        body,
    })
}
