//! HTTP/1.1 on a connection that is kept, as little of it as a load generator needs: it runs on the cores that it
//! measures.

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// A connection to `/oauth2/token`.
pub(crate) struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    answer: Vec<u8>,
}

/// An answer's status and body.
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    body: &'a str,
}

fn broken(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, request: Vec::with_capacity(1024), answer: vec![0; 16 * 1024] })
    }

    /// Posts a form and reads the answer whole.
    pub(crate) async fn post(&mut self, form: &[&str]) -> io::Result<Answer<'_>> {
        let length: usize = form.iter().map(|part| part.len()).sum();
        self.request.clear();
        let head = "POST /oauth2/token HTTP/1.1\r\nhost: 127.0.0.1\r\n\
                    content-type: application/x-www-form-urlencoded\r\ncontent-length: ";
        self.request.extend_from_slice(head.as_bytes());
        self.request.extend_from_slice(length.to_string().as_bytes());
        self.request.extend_from_slice(b"\r\n\r\n");
        for part in form {
            self.request.extend_from_slice(part.as_bytes());
        }
        self.stream.write_all(&self.request).await?;
        let mut filled = 0;
        loop {
            let read = self.stream.read(&mut self.answer[filled..]).await?;
            filled += read;
            if read == 0 {
                return Err(broken("the connection ended before the answer did"));
            }
            if let Some((status, begin, end)) = frame(&self.answer[..filled])? {
                if filled < end {
                    continue;
                }
                let body = std::str::from_utf8(&self.answer[begin..end]).map_err(|_| broken("not UTF-8"))?;
                return Ok(Answer { status, body });
            }
        }
    }
}

/// Status, and where the body begins and ends, once the head is whole.
fn frame(answer: &[u8]) -> io::Result<Option<(u16, usize, usize)>> {
    let Some(head) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let text = std::str::from_utf8(&answer[..head]).map_err(|_| broken("the head is not text"))?;
    let status = text.get(9..12).and_then(|status| status.parse().ok()).ok_or_else(|| broken("no status"))?;
    let length = text
        .lines()
        .find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
        })
        .ok_or_else(|| broken("no content-length"))?;
    Ok(Some((status, head + 4, head + 4 + length)))
}

impl<'a> Answer<'a> {
    /// A member that is a string without escapes, as tokens are.
    pub(crate) fn text(&self, member: &str) -> Option<&'a str> {
        let (_, rest) = self.body.split_once(member)?;
        rest.strip_prefix("\":\"")?.split_once('"').map(|(value, _)| value)
    }

    /// What is in it that could explain a refusal.
    pub(crate) fn explanation(&self) -> String {
        format!("{} {}", self.status, self.body.chars().take(160).collect::<String>())
    }
}
