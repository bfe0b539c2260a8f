//! Asking the kernel, and hearing of what others change.

use std::{io, net::IpAddr, os::fd::OwnedFd, time::Duration};

use ipnet::IpNet;
use rustix::{
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, bind, netlink, recv, send, socket_with,
        sockopt::{Timeout, set_socket_timeout},
    },
};
use tokio::io::unix::AsyncFd;

use super::message::{Address, Link, Message, Request, messages};
use crate::net::descriptors::register;

/// A socket to the kernel. Answers are there when a request was sent, so that waiting for one takes no time.
#[derive(Debug)]
pub struct Netlink {
    socket: OwnedFd,
    sequence: u32,
}

/// Where news are heard.
#[derive(Debug)]
pub struct News {
    socket: AsyncFd<OwnedFd>,
}

/// How long an answer may take: another program may hold the kernel's lock.
const PATIENCE: Duration = Duration::from_millis(500);
/// Bytes that the kernel writes at once at most.
const LARGEST: usize = 64 * 1024;
/// Groups of interfaces and of addresses (`RTMGRP_LINK`, `RTMGRP_IPV4_IFADDR`, `RTMGRP_IPV6_IFADDR`).
const GROUPS: u32 = 0x1 | 0x10 | 0x100;

impl Netlink {
    /// A socket to the kernel.
    pub fn open() -> io::Result<Self> {
        let socket = open(0, SocketFlags::CLOEXEC)?;
        set_socket_timeout(&socket, Timeout::Recv, Some(PATIENCE))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// Adds an address; gives whether it was not there.
    pub fn add(&mut self, address: IpNet, interface: u32) -> io::Result<bool> {
        self.change(Request::Add(address, interface), Errno::EXIST)
    }

    /// Removes an address; gives whether it was there.
    pub fn remove(&mut self, address: IpNet, interface: u32) -> io::Result<bool> {
        self.change(Request::Remove(address, interface), Errno::ADDRNOTAVAIL)
    }

    /// All addresses.
    pub fn addresses(&mut self) -> io::Result<Vec<Address>> {
        let mut found = Vec::new();
        self.ask(Request::Addresses, |message| match message {
            Message::Address(address) => {
                found.push(address);
                None
            }
            Message::Done => Some(Ok(())),
            _ => None,
        })?;
        Ok(found)
    }

    /// Addresses of an interface.
    pub fn addresses_of(&mut self, interface: u32) -> io::Result<Vec<IpAddr>> {
        let all = self.addresses()?.into_iter();
        Ok(all.filter(|it| it.interface == interface).map(|it| it.address.addr()).collect())
    }

    /// An interface.
    pub fn link(&mut self, interface: u32) -> io::Result<Link> {
        self.ask(Request::Link(interface), |message| match message {
            Message::Link(link) if link.interface == interface => Some(Ok(link)),
            _ => None,
        })
    }

    fn change(&mut self, request: Request, unchanged: Errno) -> io::Result<bool> {
        let sequence = self.sequence.wrapping_add(1);
        self.ask(request, |message| match message {
            Message::Answer { sequence: of, errno } if of == sequence => match errno {
                0 => Some(Ok(true)),
                errno if errno == unchanged.raw_os_error() => Some(Ok(false)),
                errno => Some(Err(io::Error::from_raw_os_error(errno))),
            },
            _ => None,
        })
    }

    /// Sends a request and reads until `answer` has what it wants.
    fn ask<T>(
        &mut self,
        request: Request,
        mut answer: impl FnMut(Message) -> Option<io::Result<T>>,
    ) -> io::Result<T> {
        self.sequence = self.sequence.wrapping_add(1);
        send(&self.socket, &request.bytes(self.sequence), SendFlags::empty())?;
        let mut buffer = vec![0; LARGEST];
        loop {
            let (read, _) = recv(&self.socket, &mut *buffer, RecvFlags::empty())?;
            for message in messages(buffer.get(..read).unwrap_or(&[])) {
                let failed = match &message {
                    Message::Answer { sequence, errno } if *sequence == self.sequence && *errno != 0 => {
                        Some(*errno)
                    }
                    _ => None,
                };
                match (answer(message), failed) {
                    (Some(result), _) => return result,
                    (None, Some(errno)) => return Err(io::Error::from_raw_os_error(errno)),
                    (None, None) => {}
                }
            }
        }
    }
}

impl News {
    /// News from now on, on this thread's event loop.
    pub fn open() -> io::Result<Self> {
        let socket = open(GROUPS, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK)?;
        Ok(Self { socket: register(socket)? })
    }

    /// Waits until there are some.
    pub async fn readable(&self) {
        // An error is that of the next reading.
        let _ = self.socket.readable().await.map(|mut ready| ready.clear_ready());
    }

    /// Some of what there is; `None` when there is no more. Where some were lost there are none in it.
    pub fn read(&self) -> Option<Vec<Message>> {
        let mut buffer = vec![0; LARGEST];
        match recv(self.socket.get_ref(), &mut *buffer, RecvFlags::DONTWAIT) {
            Ok((read, _)) => Some(messages(buffer.get(..read).unwrap_or(&[]))),
            Err(Errno::NOBUFS | Errno::INTR) => Some(Vec::new()),
            Err(_) => None,
        }
    }
}

/// The number of an interface of this name, in this process's network.
pub fn index_of(name: &str) -> io::Result<u32> {
    let any = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    Ok(rustix::net::netdevice::name_to_index(&any, name)?)
}

fn open(groups: u32, flags: SocketFlags) -> io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
    bind(&socket, &netlink::SocketAddrNetlink::new(0, groups))?;
    rustix::net::connect(&socket, &netlink::SocketAddrNetlink::new(0, 0))?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_tells_of_the_loopback_interface() {
        let mut netlink = Netlink::open().unwrap();
        let lo = index_of("lo").unwrap();
        assert_eq!(netlink.link(lo).unwrap().interface, lo);
        assert!(netlink.link(u32::MAX / 2).is_err());
        assert!(netlink.addresses_of(lo).unwrap().contains(&IpAddr::from([127, 0, 0, 1])));
        assert!(index_of("no-such-one").is_err());
    }
}
