//! Encoders, and those that are kept for the next body.

use std::{cell::RefCell, fmt, io::Write};

use flate2::{Compress, FlushCompress};
use zstd_safe::{CCtx, CParameter, InBuffer, OutBuffer, ResetDirective, zstd_sys::ZSTD_EndDirective};

use super::conf::LevelsConf;
use crate::{
    account::{Held, Owner},
    filter::coding::Coding,
};

/// Encoders of one kind that a worker keeps for the next bodies.
const MOST_SPARE: usize = 4;
/// Windows of bodies whose length is not known, as powers of two: what streams for long must not hold much, and events
/// least.
const WINDOW: u32 = 18;
const EVENT_WINDOW: u32 = 16;
/// What a gzip encoder takes: a window of 32 KiB, twice, its tables, and what waits to go out.
const GZIP_BYTES: usize = 300 * 1024;

thread_local! {
    static ZSTD: RefCell<Vec<CCtx<'static>>> = const { RefCell::new(Vec::new()) };
    static GZIP: RefCell<Vec<(u32, Compress)>> = const { RefCell::new(Vec::new()) };
}

/// What is known of a body before it comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    /// How many bytes it has.
    pub(super) length: Option<u64>,
    /// Whether it is a stream of events, which lasts.
    pub(super) is_events: bool,
}

/// The encoder of one body.
pub(super) struct Encoder {
    kind: EncoderKind,
    _held: Held,
}

enum EncoderKind {
    Zstd(Option<CCtx<'static>>),
    Brotli(Option<Box<brotli::CompressorWriter<Vec<u8>>>>),
    Gzip(u32, Option<Compress>),
}

impl fmt::Debug for Encoder {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self.kind {
            EncoderKind::Zstd(_) => "zstd",
            EncoderKind::Brotli(_) => "br",
            EncoderKind::Gzip(..) => "gzip",
        })
    }
}

impl Encoder {
    /// One for a body; `None` where the system has no memory for it.
    pub(super) fn new(coding: Coding, levels: &LevelsConf, expected: Expected) -> Option<Self> {
        let unknown = if expected.is_events { EVENT_WINDOW } else { WINDOW };
        // Enough for all of it, and no more than is of use.
        let window =
            expected.length.map_or(unknown, |length| (u64::BITS - length.leading_zeros()).clamp(10, 21));
        let (kind, bytes) = match coding {
            Coding::Zstd => {
                let context = zstd(levels.zstd, expected, window)?;
                (EncoderKind::Zstd(Some(context)), 600_000 + (2 << window))
            }
            Coding::Br => {
                let window = window.clamp(16, 20);
                let writer = brotli::CompressorWriter::new(Vec::new(), 4096, levels.br, window);
                (EncoderKind::Brotli(Some(Box::new(writer))), 300_000 + (2 << window))
            }
            Coding::Gzip => (EncoderKind::Gzip(levels.gzip, Some(gzip(levels.gzip))), GZIP_BYTES),
        };
        Some(Self { kind, _held: Held::new(Owner::Encoders, bytes) })
    }

    /// Takes these bytes; what comes of them goes to `out`, if anything does yet. An error ends the body.
    pub(super) fn write(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
        match &mut self.kind {
            EncoderKind::Zstd(context) => {
                run_zstd(context.as_mut(), bytes, ZSTD_EndDirective::ZSTD_e_continue, out)
            }
            EncoderKind::Brotli(writer) => {
                let writer = writer.as_mut().ok_or("has ended")?;
                writer.write_all(bytes).map_err(|_| "brotli")?;
                out.append(writer.get_mut());
                Ok(())
            }
            EncoderKind::Gzip(_, compress) => run_gzip(compress.as_mut(), bytes, FlushCompress::None, out),
        }
    }

    /// Brings out everything that was taken, so that it can be decoded.
    pub(super) fn flush(&mut self, out: &mut Vec<u8>) -> Result<(), &'static str> {
        match &mut self.kind {
            EncoderKind::Zstd(context) => {
                run_zstd(context.as_mut(), &[], ZSTD_EndDirective::ZSTD_e_flush, out)
            }
            EncoderKind::Brotli(writer) => {
                let writer = writer.as_mut().ok_or("has ended")?;
                writer.flush().map_err(|_| "brotli")?;
                out.append(writer.get_mut());
                Ok(())
            }
            EncoderKind::Gzip(_, compress) => run_gzip(compress.as_mut(), &[], FlushCompress::Sync, out),
        }
    }

    /// Ends the body. Nothing may come behind it.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), &'static str> {
        match &mut self.kind {
            EncoderKind::Zstd(context) => run_zstd(context.as_mut(), &[], ZSTD_EndDirective::ZSTD_e_end, out),
            EncoderKind::Brotli(writer) => {
                out.append(&mut writer.take().ok_or("has ended")?.into_inner());
                Ok(())
            }
            EncoderKind::Gzip(_, compress) => run_gzip(compress.as_mut(), &[], FlushCompress::Finish, out),
        }
    }
}

impl Drop for Encoder {
    /// Keeps it for the next body, where few are kept.
    fn drop(&mut self) {
        match &mut self.kind {
            EncoderKind::Zstd(context) => {
                let _ = ZSTD.try_with(|spare| {
                    let mut spare = spare.borrow_mut();
                    if let Some(mut context) = context.take().filter(|_| spare.len() < MOST_SPARE)
                        && context.reset(ResetDirective::SessionAndParameters).is_ok()
                    {
                        spare.push(context);
                    }
                });
            }
            EncoderKind::Gzip(level, compress) => {
                let _ = GZIP.try_with(|spare| {
                    let mut spare = spare.borrow_mut();
                    if let Some(mut compress) = compress.take().filter(|_| spare.len() < MOST_SPARE) {
                        compress.reset();
                        spare.push((*level, compress));
                    }
                });
            }
            // It has no way to begin anew.
            EncoderKind::Brotli(_) => {}
        }
    }
}

fn zstd(level: u32, expected: Expected, window: u32) -> Option<CCtx<'static>> {
    let kept = ZSTD.with_borrow_mut(Vec::pop);
    let mut context = kept.or_else(CCtx::try_create)?;
    let level = i32::try_from(level).unwrap_or(3);
    context.set_parameter(CParameter::CompressionLevel(level)).ok()?;
    match expected.length {
        // It chooses by that itself.
        Some(length) => {
            context.set_parameter(CParameter::WindowLog(window)).ok()?;
            context.set_pledged_src_size(Some(length)).ok()?;
        }
        None => {
            let tables = if expected.is_events { 14 } else { 16 };
            context.set_parameter(CParameter::WindowLog(window)).ok()?;
            context.set_parameter(CParameter::HashLog(tables)).ok()?;
            context.set_parameter(CParameter::ChainLog(tables)).ok()?;
        }
    }
    Some(context)
}

/// The one that has this level, else a new one.
fn gzip(level: u32) -> Compress {
    let kept = GZIP.with_borrow_mut(|spare| {
        let at = spare.iter().position(|(other, _)| *other == level)?;
        Some(spare.swap_remove(at).1)
    });
    kept.unwrap_or_else(|| Compress::new_gzip(flate2::Compression::new(level), 15))
}

fn run_zstd(
    context: Option<&mut CCtx<'static>>,
    bytes: &[u8],
    end: ZSTD_EndDirective,
    out: &mut Vec<u8>,
) -> Result<(), &'static str> {
    let context = context.ok_or("has ended")?;
    let is_end = end != ZSTD_EndDirective::ZSTD_e_continue;
    let mut input = InBuffer::around(bytes);
    loop {
        let length = out.len();
        // In steps: behind what is there it writes to what is reserved.
        out.reserve(16 * 1024);
        let mut output = OutBuffer::around_pos(out, length);
        let left =
            context.compress_stream2(&mut output, &mut input, end).map_err(zstd_safe::get_error_name)?;
        let is_taken = input.pos() == bytes.len();
        if is_taken && (!is_end || left == 0) {
            return Ok(());
        }
    }
}

fn run_gzip(
    compress: Option<&mut Compress>,
    bytes: &[u8],
    flush: FlushCompress,
    out: &mut Vec<u8>,
) -> Result<(), &'static str> {
    let compress = compress.ok_or("has ended")?;
    let mut rest = bytes;
    loop {
        out.reserve(16 * 1024);
        let (before, room) = (compress.total_in(), out.capacity() - out.len());
        let length = out.len();
        let status = compress.compress_vec(rest, out, flush).map_err(|_| "gzip")?;
        let taken = usize::try_from(compress.total_in() - before).unwrap_or(usize::MAX);
        rest = rest.get(taken..).unwrap_or_default();
        // It has brought out all there is once it did not need all the room.
        let has_room = out.len() - length < room;
        if status == flate2::Status::StreamEnd || (rest.is_empty() && has_room) {
            return Ok(());
        }
    }
}
