//! MPEG transport streams: ISO/IEC 13818-1, in packets of 188 bytes, or of 192 as M2TS.
//!
//! Program tables are under a CRC-32. What cannot be known: flipped bits in the payload of other
//! packets, and packets that are missing at the end.

use crate::{
    checksum::CRC_32_MPEG,
    scan::Scan,
    stop::{Stop, ensure, invalid},
};

/// Section 2.4.3.2.
const PACKET_BYTES: u64 = 188;
const SYNC: u8 = 0x47;
/// Packet identifiers have 13 bits; the last stands for padding.
const PIDS: usize = 1 << 13;
const NULL_PID: u16 = 0x1FFF;
/// Bytes of a section of a program table (2.4.4.5 and 2.4.4.9).
const SECTION_BYTES_MAX: usize = 1024;
/// Program map tables that are followed.
const PROGRAMS_MAX: usize = 256;

/// A section of a program table that is being put together.
#[derive(Debug)]
struct Table {
    pid: u16,
    bytes: Vec<u8>,
}

/// What packets say about each other.
struct Streams {
    /// Continuity counter of each identifier, and whether the last packet was its copy.
    counters: Vec<Option<(u8, bool)>>,
    tables: Vec<Table>,
    programs: u64,
    maps: u64,
}

pub(super) fn walk(scan: &mut Scan<'_>) -> Result<u64, Stop> {
    let total = scan.len();
    let prefix = if scan.reader.u8(0, "a packet")? == SYNC { 0 } else { 4 };
    let tables = vec![Table { pid: 0, bytes: Vec::new() }];
    let mut streams = Streams { counters: vec![None; PIDS], tables, programs: 0, maps: 0 };
    let (mut at, mut packets) = (0, 0_u64);
    while at < total {
        let start = at + prefix;
        // What follows the last packet and is none, is behind the end.
        let packet = scan.reader.peek(start, PACKET_BYTES as usize)?.to_vec();
        if packet.first().is_none_or(|byte| *byte == SYNC) {
            let whole = packet.len() as u64 == PACKET_BYTES;
            ensure(whole, total, || "the last packet is cut off".to_owned())?;
        } else {
            let lost = more_sync(scan, start, prefix)?;
            ensure(!lost, start, || "a packet does not begin with 47".to_owned())?;
            break;
        }
        streams.accept(scan, &packet, start)?;
        packets += 1;
        at = start + PACKET_BYTES;
    }
    scan.met(0, "packets", 0, at)?;
    let open = streams.tables.iter().find(|table| !table.bytes.is_empty());
    ensure(open.is_none(), at, || "a section of a program table is cut off".to_owned())?;
    ensure(0 < streams.programs, at, || "there is no program association table".to_owned())?;
    ensure(0 < streams.maps, at, || "there is no program map table".to_owned())?;
    scan.fact("packets", packets);
    Ok(at)
}

/// Whether packets go on behind a damaged one.
fn more_sync(scan: &mut Scan<'_>, start: u64, prefix: u64) -> Result<bool, Stop> {
    let next = start + PACKET_BYTES + prefix;
    Ok(scan.reader.glance().peek(next, 1)? == [SYNC])
}

impl Streams {
    fn accept(&mut self, scan: &mut Scan<'_>, packet: &[u8], at: u64) -> Result<(), Stop> {
        let &[_, second, third, fourth, ..] = packet else { return Ok(()) };
        ensure(second & 0x80 == 0, at + 1, || "a packet is marked as damaged".to_owned())?;
        let pid = u16::from_be_bytes([second & 0x1F, third]);
        let begins = second & 0x40 != 0;
        let (adapted, paid) = (fourth & 0x20 != 0, fourth & 0x10 != 0);
        ensure(adapted || paid, at + 3, || "a packet without anything".to_owned())?;
        let (mut payload, mut jump) = (4, false);
        if adapted {
            // 2.4.3.4: its length, then flags, of which one announces a jump.
            let len = usize::from(packet.get(4).copied().unwrap_or(0));
            let most = if paid { 182 } else { 183 };
            ensure(len <= most && (paid || len == most), at + 4, || {
                format!("an adaptation field of {len} bytes")
            })?;
            jump = 0 < len && packet.get(5).is_some_and(|flags| flags & 0x80 != 0);
            payload = 5 + len;
        }
        if pid != NULL_PID {
            self.count(pid, fourth & 15, paid, jump, at)?;
        }
        if let (true, Some(place)) = (paid, self.tables.iter().position(|table| table.pid == pid)) {
            self.section(scan, place, packet.get(payload..).unwrap_or_default(), begins, at)?;
        }
        Ok(())
    }

    /// 2.4.3.3: counts the packets with payload; one copy of a packet is allowed.
    fn count(
        &mut self,
        pid: u16,
        counter: u8,
        paid: bool,
        jump: bool,
        at: u64,
    ) -> Result<(), Stop> {
        let Some(slot) = self.counters.get_mut(usize::from(pid)) else { return Ok(()) };
        let copied = match *slot {
            Some((last, copied)) if !jump => {
                let expected = if paid { (last + 1) % 16 } else { last };
                let copy = paid && counter == last && !copied;
                ensure(counter == expected || copy, at + 3, || {
                    format!("packet {counter} of stream {pid} instead of {expected}")
                })?;
                copy
            }
            _ => false,
        };
        *slot = Some((counter, copied));
        Ok(())
    }

    /// Collects sections of program tables (2.4.4.1: a pointer says where the first begins).
    fn section(
        &mut self,
        scan: &mut Scan<'_>,
        place: usize,
        payload: &[u8],
        begins: bool,
        at: u64,
    ) -> Result<(), Stop> {
        let cut = |at| invalid(at, "a section is cut off");
        let mut rest = payload;
        let Some(table) = self.tables.get_mut(place) else { return Ok(()) };
        let mut done = Vec::new();
        if begins {
            let (pointer, after) = payload.split_first().ok_or_else(|| cut(at))?;
            let (tail, after) =
                after.split_at_checked(usize::from(*pointer)).ok_or_else(|| cut(at))?;
            if !table.bytes.is_empty() {
                table.bytes.extend_from_slice(tail);
                done.extend(take_section(&mut table.bytes));
                ensure(table.bytes.is_empty(), at, || "a section is cut off".to_owned())?;
            }
            table.bytes.clear();
            rest = after;
        } else if table.bytes.is_empty() {
            return Ok(());
        }
        let fresh = begins.then(|| at + PACKET_BYTES - rest.len() as u64);
        let held = rest.len();
        table.bytes.extend_from_slice(rest);
        let before = done.len();
        while let Some(section) = take_section(&mut table.bytes) {
            done.push(section);
        }
        ensure(table.bytes.len() <= SECTION_BYTES_MAX + 188, at, || {
            "a section of a program table is too long".to_owned()
        })?;
        for (n, section) in done.iter().enumerate() {
            self.read(place, section, at)?;
            if let (true, Some(start)) = (n == before && section.len() <= held, fresh) {
                scan.proved(0, "program table", start, section.len() as u64)?;
            }
        }
        Ok(())
    }

    /// Checks the CRC-32 of a section, and follows the program association table.
    fn read(&mut self, place: usize, section: &[u8], at: u64) -> Result<(), Stop> {
        ensure(CRC_32_MPEG.checksum(section) == 0, at, || {
            "the CRC-32 of a program table is wrong".to_owned()
        })?;
        if place != 0 {
            self.maps += 1;
            return Ok(());
        }
        self.programs += 1;
        let entries = section.get(8..section.len().saturating_sub(4)).unwrap_or_default();
        for entry in entries.chunks_exact(4) {
            let &[n0, n1, p0, p1] = entry else { continue };
            let pid = u16::from_be_bytes([p0 & 0x1F, p1]);
            let known = self.tables.iter().any(|table| table.pid == pid);
            if (n0, n1) != (0, 0) && !known && self.tables.len() <= PROGRAMS_MAX {
                self.tables.push(Table { pid, bytes: Vec::new() });
            }
        }
        Ok(())
    }
}

/// Takes a whole section from the front; 0xFF in place of one is padding up to the packet's end.
fn take_section(bytes: &mut Vec<u8>) -> Option<Vec<u8>> {
    if bytes.first() == Some(&0xFF) {
        bytes.clear();
    }
    let &[_, high, low, ..] = bytes.as_slice() else { return None };
    let len = 3 + usize::from(u16::from_be_bytes([high & 0x0F, low]));
    if bytes.len() < len {
        return None;
    }
    let rest = bytes.split_off(len);
    Some(std::mem::replace(bytes, rest))
}
