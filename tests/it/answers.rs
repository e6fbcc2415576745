//! What a service answers over HTTP/1.1: read strictly, passed on whole or as broken, and never to another caller.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::door::Door;
use crate::support::raw_service::{RawService, Then, ok};
use crate::support::tcp_service::rest;

const MIB: usize = 1024 * 1024;
/// Longer than the sidecar takes to look after its connections.
const A_WHILE: Duration = Duration::from_millis(200);

/// A service that answers /0, /1 and so on with these bytes and everything else with "true". Where it `closes`, it does so after
/// each of the former.
fn answering(answers: Vec<Vec<u8>>, closes: bool) -> RawService {
    RawService::answering(move |request| match request.path()[1..].parse::<usize>() {
        Ok(number) if closes => Then::AnswerAndClose(answers[number].clone()),
        Ok(number) => Then::Answer(answers[number].clone()),
        Err(_) => Then::Answer(ok("true")),
    })
}

/// Reads up to the end of a header section.
fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

fn read_exactly(stream: &mut TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

#[test]
fn an_answer_that_two_readers_could_read_differently_is_a_502_and_ends_its_connection() {
    let cases = [
        "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\nContent-Length: 6\r\n\r\nforged",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nforged",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n6\r\nforged\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nContent-Length: 7\r\n\r\nforged!",
        "HTTP/1.1 200 OK\r\nContent-Length: 6, 7\r\n\r\nforged!",
        "HTTP/1.1 200 OK\r\nContent-Length: +6\r\n\r\nforged",
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nforged",
        "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nforged",
        "HTTP/1.1 204 No Content\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, identity\r\n\r\n6\r\nforged\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nforged\r\n0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\nforged\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 6\r\n\r\nforged",
        "HTTP/1.1 200 OK\r\nX : a\r\nContent-Length: 6\r\n\r\nforged",
        "HTTP/1.1 200 OK\r\n: a\r\nContent-Length: 6\r\n\r\nforged",
        "HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 6\r\n\r\nforged",
        "HTTP/1.1 200 OK\r\nX: a\rContent-Length: 1\r\nContent-Length: 6\r\n\r\nforged",
        "HTTP/1.1 200 OK\r\nX: a\0\r\nContent-Length: 6\r\n\r\nforged",
        "HTTP/1.1 2000 OK\r\nContent-Length: 6\r\n\r\nforged",
        "HTTP/2.0 200 OK\r\nContent-Length: 6\r\n\r\nforged",
        "\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged",
        "220 mail.example ESMTP\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: own\r\n\r\nforged",
        &format!("HTTP/1.1 200 OK\r\nX: {}\r\nContent-Length: 6\r\n\r\nforged", "x".repeat(64 * 1024)),
        &format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(128 * 1024)),
        &format!("HTTP/1.1 200 OK\r\n{}Content-Length: 6\r\n\r\nforged", "X: y\r\n".repeat(100)),
        &format!("{}{}", "HTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n".repeat(1000), "HTTP/1.1 200 OK\r\n\r\n"),
    ]
    .map(|case| case.as_bytes().to_vec());
    let door = Door::before(answering(cases.to_vec(), false));
    for (number, case) in cases.iter().enumerate() {
        let case = String::from_utf8_lossy(&case[..case.len().min(120)]);
        let mut caller = door.http1();
        let answer = caller.get(&format!("/{number}")).unwrap();
        assert_eq!(answer.status, 502, "{case:?}: {answer:?}");
        assert!(!answer.body.contains("forged"), "{case:?}: {answer:?}");
        let connections = door.service.connections();
        assert_eq!(caller.get("/next").unwrap().body, "true", "{case:?}");
        assert_eq!(door.service.connections(), connections + 1, "{case:?}");
    }
}

#[test]
fn a_body_that_breaks_off_never_looks_whole() {
    let chunked = |body: &str| format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}").into_bytes();
    let cases = vec![
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf".to_vec(),
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n".to_vec(),
        chunked(""),
        chunked("5\r\nhalf"),
        chunked("5\r\nhello"),
        chunked("5\r\nhello\r\n"),
        chunked("5\r\nhello\r\n0\r\n"),
        chunked("5\r\nhello\r\n0\r\nX-Sum: 7\r\n"),
    ];
    let wrong = vec![
        chunked("5\r\nhelloX\r\n0\r\n\r\n"),
        chunked("5\r\nhello\r\n0x1\r\na\r\n0\r\n\r\n"),
        chunked("5\r\nhello\r\nfffffffffffffffff\r\na\r\n0\r\n\r\n"),
        chunked("5\r\nhello\r\n\r\n0\r\n\r\n"),
        chunked("5\r\nhello\r\n0\r\nX: a\r\n b\r\n\r\n"),
        chunked("5\nhello\n0\n\n"),
        chunked(&format!("5\r\nhello\r\n1;{}\r\na\r\n0\r\n\r\n", "x".repeat(20 * 1024))),
        chunked(&format!("5\r\nhello\r\n0\r\nX: {}\r\n\r\n", "x".repeat(64 * 1024))),
        chunked(&format!("5\r\nhello\r\n0\r\n{}\r\n", "X: y\r\n".repeat(101))),
    ];
    for (answers, closes) in [(cases, true), (wrong, false)] {
        let door = Door::before(answering(answers.clone(), closes));
        for (number, answer) in answers.iter().enumerate() {
            let told = door.http1().get(&format!("/{number}"));
            let answer = String::from_utf8_lossy(&answer[..answer.len().min(120)]);
            assert!(told.is_err(), "{answer:?}: {told:?}");
            assert_eq!(door.http1().get("/next").unwrap().body, "true", "{answer:?}");
        }
    }
}

#[test]
fn an_answer_that_ends_with_its_connection_is_whole() {
    let cases = ["HTTP/1.1 200 OK\r\n\r\nwhole", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\nwhole"];
    let door = Door::before(answering(cases.map(|case| case.as_bytes().to_vec()).to_vec(), true));
    for number in 0..cases.len() {
        let mut caller = door.http1();
        let answer = caller.get(&format!("/{number}")).unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (200, "whole"));
        assert_eq!(caller.get("/next").unwrap().body, "true");
    }
}

#[test]
fn answers_come_through_whatever_their_form_and_keep_the_connection() {
    let cases: &[(&str, &str, &str)] = &[
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello"),
        ("GET", "HTTP/1.1 200\r\nContent-Length: 5, 5\r\nContent-Length: 5\r\n\r\nhello", "hello"),
        (
            "GET",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=\"y\"\r\nhel\r\n2 \r\nlo\r\n0\r\n\r\n",
            "hello",
        ),
        ("GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n000\r\nX-Sum: 7\r\n\r\n", "hello"),
        (
            "GET",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            "hello",
        ),
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", ""),
        ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", ""),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\n", ""),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", ""),
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ""),
        ("GET", "HTTP/1.1 404 Not Found\nContent-Length: 5\n\nhello", "hello"),
    ];
    let answers = cases.iter().map(|(_, answer, _)| answer.as_bytes().to_vec()).collect();
    let door = Door::before(answering(answers, false));
    let mut caller = door.http1();
    for (number, (method, answer, body)) in cases.iter().enumerate() {
        caller.send(&format!("{method} /{number} HTTP/1.1\r\nHost: ads\r\n\r\n")).unwrap();
        if body.is_empty() {
            let head = caller.head().unwrap();
            assert!(!head.contains(" 502 "), "{answer:?}: {head}");
        } else {
            let told = caller.answer().unwrap();
            assert_eq!((told.status / 100 != 5, told.body.as_str()), (true, *body), "{answer:?}: {told:?}");
            assert!(told.head.matches("content-length").count() <= 1, "{told:?}");
        }
        assert_eq!(caller.get("/next").unwrap().body, "true", "{answer:?}");
    }
    assert_eq!(door.service.connections(), 1);
}

#[test]
fn a_connection_that_the_service_does_not_keep_is_not_used_again() {
    let cases = [
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nConnection: x, Close\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    ];
    let door = Door::before(answering(cases.map(|case| case.as_bytes().to_vec()).to_vec(), false));
    let mut caller = door.http1();
    for (number, case) in cases.iter().enumerate() {
        assert_eq!(caller.get(&format!("/{number}")).unwrap().body, "ok");
        let connections = door.service.connections();
        assert_eq!(caller.get("/next").unwrap().body, "true");
        assert_eq!(door.service.connections(), connections + 1, "{case:?}");
    }
}

#[test]
fn an_answer_that_comes_byte_by_byte_is_the_same() {
    let door = Door::before_the_test();
    let mut caller = door.http1();
    caller.send("GET / HTTP/1.1\r\nHost: ads\r\n\r\n").unwrap();
    let mut service = door.service.accept();
    service.set_nodelay(true).unwrap();
    read_head(&mut service);
    let answer = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-A: b\r\n\r\n\
                  3;x=y\r\nhel\r\n2\r\nlo\r\n0\r\nX-Sum: 7\r\n\r\n";
    for byte in answer.as_bytes() {
        service.write_all(&[*byte]).unwrap();
        std::thread::sleep(Duration::from_millis(1));
    }
    let told = caller.answer().unwrap();
    assert_eq!((told.status, told.body.as_str()), (200, "hello"));
    assert!(told.head.contains("x-a: b"), "{told:?}");
}

#[test]
fn what_comes_on_an_idle_connection_answers_nobody() {
    let door = Door::before_the_test();
    let mut caller = door.http1();
    caller.send("GET /first HTTP/1.1\r\nHost: ads\r\n\r\n").unwrap();
    let mut first = door.service.accept();
    read_head(&mut first);
    first.write_all(&ok("true")).unwrap();
    assert_eq!(caller.answer().unwrap().body, "true");
    first.write_all(&ok("forged")).unwrap();
    std::thread::sleep(A_WHILE);
    caller.send("GET /next HTTP/1.1\r\nHost: ads\r\n\r\n").unwrap();
    let mut second = door.service.accept();
    assert!(read_head(&mut second).starts_with("GET /next "));
    second.write_all(&ok("true")).unwrap();
    assert_eq!(caller.answer().unwrap().body, "true");
    let _ = rest_of(&mut first);
}

/// Reads until the connection ends, however it does so.
fn rest_of(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes);
    bytes
}

#[test]
fn an_idle_connection_that_the_service_closes_is_gone_and_costs_not_even_a_post() {
    let door = Door::before_the_test();
    let mut caller = door.http1();
    caller.send("GET / HTTP/1.1\r\nHost: ads\r\n\r\n").unwrap();
    let mut first = door.service.accept();
    read_head(&mut first);
    first.write_all(&ok("true")).unwrap();
    assert_eq!(caller.answer().unwrap().body, "true");
    first.shutdown(Shutdown::Write).unwrap();
    assert_eq!(rest(&mut first), b"", "the sidecar does not end its side");
    caller.send("POST / HTTP/1.1\r\nHost: ads\r\nContent-Length: 5\r\n\r\nhello").unwrap();
    let mut second = door.service.accept();
    read_head(&mut second);
    assert_eq!(read_exactly(&mut second, 5), b"hello");
    second.write_all(&ok("true")).unwrap();
    assert_eq!(caller.answer().unwrap().body, "true");
}

#[test]
fn a_request_whose_answer_has_begun_is_not_sent_again() {
    let seen = AtomicUsize::new(0);
    let service = RawService::answering(move |request| match request.path() {
        "/half" => {
            seen.fetch_add(1, Ordering::Relaxed);
            Then::AnswerAndClose(b"HTTP/1.1 200 OK\r\nContent-".to_vec())
        }
        _ => Then::Answer(ok("true")),
    });
    let door = Door::before(service);
    let mut caller = door.http1();
    assert_eq!(caller.get("/").unwrap().body, "true");
    assert_eq!(caller.get("/half").unwrap().status, 502);
    assert_eq!(door.service.requests().iter().filter(|request| request.path() == "/half").count(), 1);
}

#[test]
fn an_early_answer_reaches_the_caller_and_the_upload_goes_on_behind_it() {
    let door = Door::before_the_test();
    let mut caller = door.http1();
    caller.send("POST /upload HTTP/1.1\r\nHost: ads\r\nContent-Length: 1000\r\n\r\nten bytes.").unwrap();
    let mut first = door.service.accept();
    read_head(&mut first);
    assert_eq!(read_exactly(&mut first, 10), b"ten bytes.");
    first.write_all(&ok("early")).unwrap();
    assert_eq!(caller.answer().unwrap().body, "early");
    // Until the upload is through, nobody else is put behind it.
    let mut other = door.http1();
    other.send("GET /other HTTP/1.1\r\nHost: ads\r\nConnection: close\r\n\r\n").unwrap();
    let mut second = door.service.accept();
    read_head(&mut second);
    second.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\ntrue").unwrap();
    assert_eq!(other.answer().unwrap().body, "true");
    caller.send(&"x".repeat(990)).unwrap();
    assert_eq!(read_exactly(&mut first, 990), [b'x'; 990]);
    std::thread::sleep(A_WHILE);
    // Its connection carries the next request, and the caller's does too.
    caller.send("GET /next HTTP/1.1\r\nHost: ads\r\n\r\n").unwrap();
    assert!(read_head(&mut first).starts_with("GET /next "));
    first.write_all(&ok("true")).unwrap();
    assert_eq!(caller.answer().unwrap().body, "true");
}

#[test]
fn an_upload_that_breaks_off_after_its_early_answer_ends_the_connection() {
    let door = Door::before_the_test();
    for form in ["Content-Length: 1000\r\n\r\nten bytes.", "Transfer-Encoding: chunked\r\n\r\na\r\nten bytes.\r\n"] {
        let mut caller = door.http1();
        caller.send(&format!("POST /upload HTTP/1.1\r\nHost: ads\r\n{form}")).unwrap();
        let mut service = door.service.accept();
        read_head(&mut service);
        read_exactly(&mut service, 10);
        service.write_all(&ok("early")).unwrap();
        assert_eq!(caller.answer().unwrap().body, "early");
        drop(caller);
        let rest = rest_of(&mut service);
        assert!(!String::from_utf8_lossy(&rest).contains("0\r\n\r\n"), "{form:?} looks whole: {rest:?}");
    }
}

#[test]
fn an_early_answer_that_closes_reaches_the_caller_in_the_middle_of_its_upload() {
    let door = Door::before_the_test();
    let mut caller = door.http1();
    caller.send("POST /upload HTTP/1.1\r\nHost: ads\r\nContent-Length: 1000000\r\n\r\nten bytes.").unwrap();
    let mut service = door.service.accept();
    read_head(&mut service);
    read_exactly(&mut service, 10);
    service.write_all(b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig").unwrap();
    service.shutdown(Shutdown::Write).unwrap();
    let answer = caller.answer().unwrap();
    assert_eq!((answer.status, answer.body.as_str()), (413, "big"));
}

#[test]
fn both_ways_stream_at_the_same_time() {
    let door = Door::before_the_test();
    let mut caller = door.http1();
    caller.send("POST /duplex HTTP/1.1\r\nHost: ads\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    let mut service = door.service.accept();
    read_head(&mut service);
    service.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
    assert!(caller.head().unwrap().starts_with("HTTP/1.1 200 "));
    for round in 0..5 {
        let (there, back) = (format!("6\r\nthere{round}\r\n"), format!("5\r\nback{round}\r\n"));
        caller.send(&there).unwrap();
        assert_eq!(read_exactly(&mut service, there.len()), there.as_bytes());
        service.write_all(back.as_bytes()).unwrap();
        let mut told = Vec::new();
        caller.exactly(back.len(), &mut told).unwrap();
        assert_eq!(told, back.as_bytes());
    }
    // The answer ends first.
    service.write_all(b"0\r\n\r\n").unwrap();
    caller.exactly(5, &mut Vec::new()).unwrap();
    caller.send("0\r\n\r\n").unwrap();
    assert_eq!(read_exactly(&mut service, 5), b"0\r\n\r\n");
}

#[test]
fn an_upload_does_not_wait_for_a_caller_that_reads_nothing_before_its_end() {
    // More each way than anything on the way holds.
    const LENGTH: usize = 32 * MIB;
    let door = Door::before_the_test();
    let head = format!("POST /both HTTP/1.1\r\nHost: ads\r\nContent-Length: {LENGTH}\r\n\r\n");
    let mut caller = door.http1();
    caller.send(&head).unwrap();
    let service = door.service.accept();
    let service = std::thread::spawn(move || answer_while_reading(service, LENGTH));
    caller.stream().write_all(&vec![b'x'; LENGTH]).unwrap();
    assert_eq!(caller.answer().unwrap().body.len(), LENGTH);
    service.join().unwrap();
}

/// Answers one request, and reads its body meanwhile.
fn answer_while_reading(mut stream: TcpStream, length: usize) {
    read_head(&mut stream);
    let mut reader = stream.try_clone().unwrap();
    let reading =
        std::thread::spawn(move || std::io::copy(&mut (&mut reader).take(length as u64), &mut std::io::sink()));
    stream.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").as_bytes()).unwrap();
    stream.write_all(&vec![b'y'; length]).unwrap();
    assert_eq!(reading.join().unwrap().unwrap(), length as u64);
}

#[test]
fn what_a_service_says_right_after_it_switched_protocols_is_carried() {
    let door = Door::before_the_test();
    let mut caller = door.http1();
    caller.send("GET / HTTP/1.1\r\nHost: ads\r\nConnection: upgrade\r\nUpgrade: own\r\n\r\n").unwrap();
    let mut service = door.service.accept();
    assert!(read_head(&mut service).contains("upgrade: own\r\n"));
    let switched = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: own\r\n\r\n";
    service.write_all(format!("{switched}early").as_bytes()).unwrap();
    assert!(caller.head().unwrap().starts_with("HTTP/1.1 101 "));
    let mut early = Vec::new();
    caller.exactly(5, &mut early).unwrap();
    assert_eq!(early, b"early");
    caller.send("late").unwrap();
    assert_eq!(read_exactly(&mut service, 4), b"late");
}

/// A body in which every byte's place can be told.
fn pattern(length: usize) -> String {
    (0..length).map(|at| char::from(b'a' + u8::try_from((at + at / 251) % 26).unwrap())).collect()
}

/// The same in chunks of all sizes.
fn in_chunks(body: &str) -> String {
    let (mut chunks, mut rest) = (String::new(), body);
    for size in [1, 7, 100, 4096, 16 * 1024, 70_000].iter().cycle() {
        let (chunk, later) = rest.split_at(*size.min(&rest.len()));
        chunks.extend([&format!("{:x}\r\n", chunk.len()), chunk, "\r\n"]);
        if chunk.is_empty() {
            return chunks;
        }
        rest = later;
    }
    chunks
}

#[test]
fn bodies_of_every_form_arrive_as_they_were_sent() {
    let body = pattern(4 * MIB);
    let sized = format!("Content-Length: {}\r\n\r\n{body}", body.len());
    let chunked = format!("Transfer-Encoding: chunked\r\n\r\n{}", in_chunks(&body));
    let answers = [&sized, &chunked].map(|form| format!("HTTP/1.1 200 OK\r\n{form}").into_bytes());
    let door = Door::before(answering(answers.to_vec(), false));
    let mut caller = door.http1();
    for number in 0..answers.len() {
        assert!(caller.get(&format!("/{number}")).unwrap().body == body, "{number}");
    }
    for (path, form) in [("/sized", &sized), ("/chunked", &chunked)] {
        caller.send(&format!("POST {path} HTTP/1.1\r\nHost: ads\r\n{form}")).unwrap();
        assert_eq!(caller.answer().unwrap().body, "true");
        let request = door.service.wait_for(path);
        assert!(request.body == body.as_bytes() && request.defect().is_none(), "{}", request.head);
    }
    assert_eq!((door.service.connections(), door.service.rubbish()), (1, Vec::new()));
}
