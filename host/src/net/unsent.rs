//! What a peer has not taken yet.

use std::ffi::c_int;
use std::os::fd::AsFd;

use rustix::ioctl::{Getter, Opcode, ioctl};

/// tcp(7) and unix(7), `SIOCOUTQ`: as on every architecture that Cranelift compiles for.
const SIOCOUTQ: Opcode = 0x5411;

/// Bytes that were written to the socket and that the peer has not acknowledged: those on their way, and those for which it has
/// no room. That a socket can be written to again tells far less: the kernel says so only when a third of its buffer, which
/// may be megabytes, is free.
pub fn unsent(socket: impl AsFd) -> u64 {
    // SAFETY: for SIOCOUTQ the kernel writes an int.
    let unsent = unsafe { ioctl(socket, Getter::<SIOCOUTQ, c_int>::new()) };
    // Of a socket that has failed nobody waits for more.
    unsent.map_or(0, |unsent| u64::try_from(unsent).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[tokio::test]
    async fn what_a_peer_takes_is_gone_from_it() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connecting = TcpStream::connect(listener.local_addr().unwrap());
        let (ours, accepted) = tokio::join!(connecting, listener.accept());
        let (ours, mut peer) = (ours.unwrap(), accepted.unwrap().0);
        assert_eq!(unsent(&ours), 0);
        let mut written = 0;
        while let Ok(more) = ours.try_write(&[0; 64 << 10]) {
            written += more as u64;
            tokio::task::yield_now().await;
        }
        let before = unsent(&ours);
        assert!(before > 0 && before < written, "{before} of {written}");
        let mut left = written as usize;
        let mut buffer = vec![0; 64 << 10];
        while left > 0 {
            left -= peer.read(&mut buffer).await.unwrap();
        }
        let all_gone = async {
            while unsent(&ours) > 0 {
                tokio::task::yield_now().await;
            }
        };
        let patience = std::time::Duration::from_secs(20);
        tokio::time::timeout(patience, all_gone).await.unwrap();
    }
}
