//! A service that speaks HTTP/2 frame by frame, and says to each frame what the test wants it to.

use std::io::{Read, Result, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use super::h2_frames::{ACK, Frame, PING, SETTINGS, preface, put, read};

/// Starts one that limits the streams of a connection to this many. `answer` gets each frame that is about a stream and writes
/// what to say to it; a connection to whose frame it says `false` is closed.
pub(crate) fn serve(streams: u32, answer: impl Fn(&Frame, &mut Vec<u8>) -> bool + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, answer) = (listener.local_addr().unwrap(), Arc::new(answer));
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let answer = Arc::clone(&answer);
            std::thread::spawn(move || converse(stream, streams, &*answer));
        }
    });
    address
}

fn converse(mut stream: TcpStream, streams: u32, answer: &dyn Fn(&Frame, &mut Vec<u8>) -> bool) -> Result<()> {
    stream.read_exact(&mut vec![0; preface().len() - 9])?;
    let mut said = Vec::new();
    // SETTINGS_MAX_CONCURRENT_STREAMS (RFC 9113 section 6.5.2)
    let limit = [&[0, 3][..], &streams.to_be_bytes()].concat();
    put(&mut said, SETTINGS, 0, 0, &limit);
    let mut goes_on = true;
    while goes_on {
        stream.write_all(&said)?;
        said.clear();
        let frame = read(&mut stream)?;
        match frame.kind {
            SETTINGS | PING if frame.flags & ACK != 0 => {}
            SETTINGS => put(&mut said, SETTINGS, ACK, 0, &[]),
            PING => put(&mut said, PING, ACK, 0, &frame.payload),
            _ if frame.stream == 0 => {}
            _ => goes_on = answer(&frame, &mut said),
        }
    }
    stream.write_all(&said)
}
