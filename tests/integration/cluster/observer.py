"""Asks the network who has these addresses, again and again, and says who answers.

observer.py INTERFACE MILLISECONDS ADDRESS...

A line for each answer: seconds of CLOCK_MONOTONIC, address, hardware address, and for how many seconds questions for
that address had no answer before it. IPv4 is asked for by ARP, IPv6 by neighbour solicitation; both to everybody, so
that each who has the address answers. Who does not answer while this program has no processor to ask is not missed."""

import ipaddress
import select
import socket
import struct
import sys
import time


def checksum(data):
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def arp(mac, own, address):
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1) + mac + own.packed + bytes(6) + address.packed
    return b"\xff" * 6 + mac + struct.pack("!H", 0x0806) + body


def solicitation(mac, own, address):
    group = ipaddress.ip_address("ff02::1:ff00:0").packed[:13] + address.packed[13:]
    body = struct.pack("!BBHI", 135, 0, 0, 0) + address.packed + b"\x01\x01" + mac
    pseudo = own.packed + group + struct.pack("!IBBBB", len(body), 0, 0, 0, 58)
    body = body[:2] + struct.pack("!H", checksum(pseudo + body)) + body[4:]
    header = struct.pack("!IHBB", 6 << 28, len(body), 58, 255) + own.packed + group
    return b"\x33\x33\xff" + group[13:] + mac + struct.pack("!H", 0x86DD) + header + body


def answer(frame):
    kind = frame[12:14]
    if kind == b"\x08\x06" and frame[20:22] == b"\x00\x02":
        return ipaddress.ip_address(frame[28:32]), frame[22:28]
    # A solicited advertisement; what is announced unasked is no answer.
    if kind == b"\x86\xdd" and frame[20] == 58 and frame[54] == 136 and frame[58] & 0x40:
        return ipaddress.ip_address(frame[62:78]), frame[6:12]
    return None


def main():
    interface, pause = sys.argv[1], int(sys.argv[2]) / 1000
    addresses = [ipaddress.ip_address(text) for text in sys.argv[3:]]
    wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
    wire.bind((interface, 0))
    wire.setblocking(False)
    mac = wire.getsockname()[4]
    # The address that the kernel makes of a hardware address (RFC 4291, appendix A).
    link_local = bytes.fromhex("fe80000000000000") + bytes([mac[0] ^ 2]) + mac[1:3] + b"\xff\xfe" + mac[3:]
    own = {4: ipaddress.ip_address("0.0.0.0"), 6: ipaddress.ip_address(link_local)}
    frames = [(arp if it.version == 4 else solicitation)(mac, own[it.version], it) for it in addresses]
    print("ready", flush=True)
    due = asked = time.monotonic()
    missed = {address: 0.0 for address in addresses}
    while True:
        now = time.monotonic()
        if now >= due:
            for address in addresses:
                missed[address] += min(now - asked, 2 * pause)
            for frame in frames:
                wire.send(frame)
            due, asked = max(due + pause, now), now
        select.select([wire], [], [], max(0, due - time.monotonic()))
        try:
            while True:
                frame = wire.recv(2048)
                known = answer(frame)
                if known and known[0] in addresses and frame[6:12] != mac:
                    print(f"{time.monotonic():.6f} {known[0]} {known[1].hex(':')} {missed[known[0]]:.6f}", flush=True)
                    missed[known[0]] = 0.0
        except BlockingIOError:
            pass


main()
