//! Listening sockets. One an address, without SO_REUSEPORT: closing one of several such sockets loses the connections in its
//! queue, and a second process could bind unnoticed.
//!
//! A Unix socket has no such guard of the kernel's: its file stays when a process ends without a word, and nobody can bind
//! over it. So a file where nobody listens is replaced, one where somebody does is left alone, and ours is removed with the
//! socket.

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net as unix;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::{TcpListener, UnixListener};

use super::{Stream, systemd};

/// Connections that the kernel keeps for us until they are accepted; it cuts this to `net.core.somaxconn`.
const BACKLOG: i32 = 8192;

/// How a client on a Unix socket is known: it has no address. Port 0 is no client's.
pub const UNIX_CLIENT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A socket that listens.
#[derive(Clone, Debug)]
pub enum Listening {
    Tcp(Arc<TcpListener>),
    Unix(Arc<UnixSocket>),
}

/// A Unix socket and its file.
#[derive(Debug)]
pub struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and number of our file: another's of that name is not ours to remove. None: the file is systemd's.
    file: Option<(u64, u64)>,
}

/// A connection, bound to no runtime.
#[derive(Debug)]
pub enum Accepted {
    Tcp(std::net::TcpStream),
    Unix(unix::UnixStream),
}

/// Binds `address` and listens. Must be called within a tokio runtime, whose reactor the socket then belongs to.
///
/// An IPv6 address takes IPv6 connections alone, so that `0.0.0.0:80` and `[::]:80` can stand side by side. Where systemd holds a
/// socket of that address, it is as that is.
pub fn listen(address: SocketAddr) -> io::Result<Listening> {
    let socket = match systemd::listening_at(&address.into()) {
        Some(socket) => socket,
        None => bound(address)?,
    };
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket.into()).map(|listener| Listening::Tcp(Arc::new(listener)))
}

fn bound(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.cloexec(),
        Some(Protocol::TCP),
    )?;
    // Without it a restart fails for as long as old connections are in TIME_WAIT.
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

/// Listens at `path`, whose file is made with these permissions at most, and has them before anybody can connect. As [`listen`]
/// otherwise.
pub fn listen_unix(path: &Path, mode: u32) -> io::Result<Listening> {
    let address = SockAddr::unix(path)?;
    let (socket, file) = match systemd::listening_at(&address) {
        Some(socket) => (socket, None),
        None => bound_unix(path, &address, mode).map(|(socket, file)| (socket, Some(file)))?,
    };
    socket.set_nonblocking(true)?;
    let listener = UnixListener::from_std(socket.into())?;
    Ok(Listening::Unix(Arc::new(UnixSocket {
        listener,
        path: path.to_owned(),
        file,
    })))
}

fn bound_unix(path: &Path, address: &SockAddr, mode: u32) -> io::Result<(Socket, (u64, u64))> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM.cloexec(), None)?;
    // Linux makes the file with the socket's own permissions, less the umask, which belongs to all threads.
    let file = fs::File::from(std::os::fd::OwnedFd::from(socket.try_clone()?));
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    drop(file);
    if let Err(error) = socket.bind(address) {
        let stale = error.kind() == io::ErrorKind::AddrInUse && is_stale(path);
        if !stale {
            return Err(error);
        }
        fs::remove_file(path)?;
        socket.bind(address)?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(mode))?;
    let file = identity(path)?;
    socket.listen(BACKLOG)?;
    Ok((socket, file))
}

/// A socket's file where nobody listens any more.
fn is_stale(path: &Path) -> bool {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    is_socket
        && unix::UnixStream::connect(path)
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

impl Listening {
    /// The next connection and whose it is.
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Accepted, SocketAddr)>> {
        Poll::Ready(Ok(match self {
            Listening::Tcp(listener) => {
                let (stream, peer) = ready!(listener.poll_accept(cx))?;
                (Accepted::Tcp(stream.into_std()?), peer)
            }
            Listening::Unix(socket) => {
                let (stream, _) = ready!(socket.listener.poll_accept(cx))?;
                (Accepted::Unix(stream.into_std()?), UNIX_CLIENT)
            }
        }))
    }

    /// Its address; None: it is a Unix socket.
    pub fn local(&self) -> Option<SocketAddr> {
        match self {
            Listening::Tcp(listener) => listener.local_addr().ok(),
            Listening::Unix(_) => None,
        }
    }
}

impl Accepted {
    /// Closes it with a reset: nothing of it stays behind, here or in the kernel.
    pub fn refuse(self) {
        if let Accepted::Tcp(socket) = self {
            let _ = socket2::SockRef::from(&socket).set_linger(Some(std::time::Duration::ZERO));
        }
    }

    /// Who is connected, and to where.
    pub fn addresses(&self) -> io::Result<(SocketAddr, SocketAddr)> {
        match self {
            Accepted::Tcp(socket) => Ok((socket.peer_addr()?, socket.local_addr()?)),
            Accepted::Unix(_) => Ok((UNIX_CLIENT, UNIX_CLIENT)),
        }
    }

    /// Within the runtime that it then belongs to.
    pub fn into_stream(self) -> io::Result<Stream> {
        match self {
            Accepted::Tcp(socket) => {
                socket.set_nonblocking(true)?;
                socket.set_nodelay(true)?;
                tokio::net::TcpStream::from_std(socket).map(Stream::Tcp)
            }
            Accepted::Unix(socket) => {
                socket.set_nonblocking(true)?;
                tokio::net::UnixStream::from_std(socket).map(Stream::Unix)
            }
        }
    }
}

impl UnixSocket {
    /// Gives its file other permissions, unless it is systemd's. Errors: another's file stands in its place, or none.
    pub fn permit(&self, mode: u32) -> io::Result<()> {
        let Some(ours) = self.file else {
            return Ok(());
        };
        if identity(&self.path)? != ours {
            return Err(io::Error::other("its file is another's now"));
        }
        fs::set_permissions(&self.path, fs::Permissions::from_mode(mode))
    }

    /// Takes its file away, whoever still holds the socket, unless it is systemd's or another's by now.
    pub fn withdraw(&self) {
        if self.file.is_some() && identity(&self.path).ok() == self.file {
            let _ = fs::remove_file(&self.path);
        }
    }

    /// A descriptor of its own for the same socket.
    pub fn duplicate(&self) -> io::Result<unix::UnixListener> {
        use std::os::fd::AsFd;
        self.listener
            .as_fd()
            .try_clone_to_owned()
            .map(unix::UnixListener::from)
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        self.withdraw();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_is_bound_once() {
        let first = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let again = listen(first.local().unwrap());
        assert_eq!(again.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[tokio::test]
    async fn a_live_unix_socket_is_left_alone_and_a_stale_one_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web.sock");
        let live = listen_unix(&path, 0o640).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
        let again = listen_unix(&path, 0o640);
        assert_eq!(again.unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert!(unix::UnixStream::connect(&path).is_ok(), "it still listens");
        drop(live);
        assert!(!path.exists(), "its file goes with it");
        drop(unix::UnixListener::bind(&path).unwrap());
        assert!(
            path.exists(),
            "a process that ends without a word leaves it"
        );
        let after = listen_unix(&path, 0o600).unwrap();
        fs::remove_file(&path).unwrap();
        let other = unix::UnixListener::bind(&path).unwrap();
        drop(after);
        assert!(path.exists(), "another's file is not ours to remove");
        drop(other);
    }

    #[tokio::test]
    async fn a_file_that_is_no_socket_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notes.txt");
        fs::write(&path, "mine").unwrap();
        assert!(listen_unix(&path, 0o600).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"mine");
    }
}
