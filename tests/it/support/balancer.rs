//! A balancer of TCP connections in front of several receivers, as a name with several addresses is.

use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};

/// Where clients connect. Each connection goes to the next receiver in turn that takes it.
pub(crate) fn balance(receivers: Vec<SocketAddr>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    balance_from(listener, receivers);
    address
}

/// The same for clients that knew the address before there was a receiver.
pub(crate) fn balance_from(listener: TcpListener, receivers: Vec<SocketAddr>) {
    // It ends with the test process; the sockets of its connections end with theirs.
    std::thread::spawn(move || {
        for (turn, client) in listener.incoming().flatten().enumerate() {
            let order = receivers.iter().cycle().skip(turn % receivers.len()).take(receivers.len());
            let Some(receiver) = order.into_iter().find_map(|receiver| TcpStream::connect(receiver).ok()) else {
                continue;
            };
            let (there, back) = (client.try_clone().unwrap(), receiver.try_clone().unwrap());
            std::thread::spawn(move || pass(&there, &receiver));
            std::thread::spawn(move || pass(&back, &client));
        }
    });
}

fn pass(mut from: &TcpStream, mut to: &TcpStream) {
    if std::io::copy(&mut from, &mut to).is_err() {
        let _ = from.shutdown(Shutdown::Both);
    }
    // The other end may have closed first.
    let _ = to.shutdown(Shutdown::Write);
}
