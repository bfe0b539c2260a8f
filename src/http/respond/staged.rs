//! A body that goes through stages on its way.

use std::task::{Context, Poll, ready};

use super::keep::Keep;
use crate::{
    error::{Kind, ProxyError, Result},
    fields::{Fields, Known, is_digest},
    filter::stage::{SLICE, Stage},
    net::{BodyFrame, Buffer},
};

/// Most bytes that stages take before others on the same event loop have their turn.
const TURN: usize = 2 * SLICE;

/// What brings a body.
pub(in crate::http) trait Blocks {
    /// The next of the body, and its end.
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Result<BodyFrame>>;
}

/// A body that goes through stages. Whatever is held is brought out whenever nothing more comes at the moment.
#[derive(Debug)]
pub(in crate::http) struct Staged<S> {
    /// Where it comes from.
    pub(super) source: S,
    stages: Vec<Box<dyn Stage>>,
    /// What each stage has not taken yet.
    waiting: Vec<Buffer>,
    /// What comes behind the last of it, once it has ended.
    ended: Option<Option<Box<Fields>>>,
    /// Bytes taken since others had their turn.
    taken: usize,
    /// Where what comes out is kept, once it is whole.
    keep: Option<Keep>,
}

impl<S: Blocks> Staged<S> {
    /// This body through these stages.
    pub(super) fn new(source: S, stages: Vec<Box<dyn Stage>>, keep: Option<Keep>) -> Self {
        let waiting = stages.iter().map(|_| Buffer::default()).collect();
        Self { source, stages, waiting, ended: None, taken: 0, keep }
    }

    /// The next of the body behind all stages.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<BodyFrame>> {
        let frame = ready!(self.next(cx))?;
        match &frame {
            // What is not to be kept after all is given back at once.
            BodyFrame::Data(block) => drop(self.keep.take_if(|keep| !keep.add(block))),
            BodyFrame::End(_) => {
                if let Some(keep) = self.keep.take() {
                    keep.finish();
                }
            }
        }
        Poll::Ready(Ok(frame))
    }

    fn next(&mut self, cx: &mut Context<'_>) -> Poll<Result<BodyFrame>> {
        loop {
            if self.taken >= TURN {
                self.taken = 0;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            if let Some(block) = self.advance()? {
                return Poll::Ready(Ok(BodyFrame::Data(block)));
            }
            if self.waiting.iter().any(|waiting| !waiting.is_empty()) {
                continue;
            }
            if self.ended.is_some() {
                if let Some(block) = self.drain(|stage| stage.finish())? {
                    return Poll::Ready(Ok(BodyFrame::Data(block)));
                }
                // What a stage has finished with may be work for the next one.
                if self.waiting.iter().all(|waiting| waiting.is_empty()) {
                    return Poll::Ready(Ok(BodyFrame::End(self.ended.take().flatten())));
                }
                continue;
            }
            match self.source.poll_next(cx)? {
                Poll::Ready(BodyFrame::Data(block)) => {
                    if let Some(first) = self.waiting.first_mut() {
                        *first = block;
                    }
                }
                Poll::Ready(BodyFrame::End(trailers)) => self.ended = Some(without_digests(trailers)),
                Poll::Pending => {
                    if let Some(block) = self.drain(|stage| stage.flush())? {
                        return Poll::Ready(Ok(BodyFrame::Data(block)));
                    }
                    if self.waiting.iter().all(|waiting| waiting.is_empty()) {
                        return Poll::Pending;
                    }
                }
            }
        }
    }

    /// Has each stage take once from what waits for it, the last one first; gives what comes out behind it.
    fn advance(&mut self) -> Result<Option<Buffer>> {
        for index in (0..self.stages.len()).rev() {
            if self.waiting.get(index + 1).is_some_and(|next| !next.is_empty()) {
                continue;
            }
            let (Some(stage), Some(block)) = (self.stages.get_mut(index), self.waiting.get_mut(index)) else {
                continue;
            };
            if block.is_empty() {
                continue;
            }
            let before = block.len();
            let out = stage.take(block).map_err(broken)?;
            self.taken += before - block.len();
            let Some(out) = out.filter(|out| !out.is_empty()) else { continue };
            match self.waiting.get_mut(index + 1) {
                Some(next) => *next = out,
                None => return Ok(Some(out)),
            }
        }
        Ok(None)
    }

    /// Asks each stage for what it holds, the first one first; gives what comes out behind the last.
    fn drain(&mut self, ask: impl Fn(&mut dyn Stage) -> Taken) -> Result<Option<Buffer>> {
        for index in 0..self.stages.len() {
            let Some(stage) = self.stages.get_mut(index) else { continue };
            let out = ask(&mut **stage).map_err(broken)?;
            let Some(out) = out.filter(|out| !out.is_empty()) else { continue };
            match self.waiting.get_mut(index + 1) {
                Some(next) => {
                    *next = out;
                    return Ok(None);
                }
                None => return Ok(Some(out)),
            }
        }
        Ok(None)
    }
}

/// Trailers without what says of a body, byte for byte, what it was before it went through stages.
fn without_digests(trailers: Option<Box<Fields>>) -> Option<Box<Fields>> {
    let mut trailers = trailers?;
    trailers.retain(|field| field.known != Known::Etag && !is_digest(field.name));
    (!trailers.is_empty()).then_some(trailers)
}

/// What a stage gives.
type Taken = std::result::Result<Option<Buffer>, &'static str>;

/// A stage that cannot go on is not the backend's fault; what it lacks is memory, as far as anything can go wrong.
fn broken(what: &'static str) -> ProxyError {
    ProxyError::because(Kind::MemoryFull, what)
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, task::Waker};

    use super::*;

    /// A body that is there.
    struct Whole(Vec<u8>);

    impl Blocks for Whole {
        fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Result<BodyFrame>> {
            let next = std::mem::take(&mut self.0);
            Poll::Ready(Ok(match next.is_empty() {
                true => BodyFrame::End(None),
                false => BodyFrame::Data(Buffer::of(next)),
            }))
        }
    }

    /// Holds everything but whole lines, and puts a mark before each.
    #[derive(Debug)]
    struct Lines(Vec<u8>, char);

    impl Stage for Lines {
        fn take(&mut self, block: &mut Buffer) -> Taken {
            let length = block.len().min(3);
            self.0.extend_from_slice(block.get(..length).unwrap());
            block.advance(length);
            let Some(end) = self.0.iter().rposition(|byte| *byte == b'\n') else { return Ok(None) };
            let end = end + 1;
            let whole: Vec<u8> = self.0.drain(..end).collect();
            let marked = String::from_utf8(whole).unwrap();
            let lines: String = marked.lines().map(|line| format!("{}{line}\n", self.1)).collect();
            Ok(Some(Buffer::of(lines.into_bytes())))
        }

        fn flush(&mut self) -> Taken {
            Ok((!self.0.is_empty()).then(|| Buffer::of(std::mem::take(&mut self.0))))
        }

        fn finish(&mut self) -> Taken {
            self.flush()
        }
    }

    fn stage(mark: char) -> Box<dyn Stage> {
        Box::new(Lines(Vec::new(), mark))
    }

    /// All that comes, and how often nothing did though there was more.
    fn all(mut staged: Staged<Whole>) -> (String, usize) {
        let (mut all, mut waits) = (Vec::new(), 0);
        let mut cx = Context::from_waker(Waker::noop());
        loop {
            match staged.poll(&mut cx) {
                Poll::Ready(Ok(BodyFrame::Data(block))) => all.extend_from_slice(&block),
                Poll::Ready(Ok(BodyFrame::End(_))) => return (String::from_utf8(all).unwrap(), waits),
                Poll::Ready(Err(error)) => panic!("{error}"),
                Poll::Pending => waits += 1,
            }
        }
    }

    #[test]
    fn a_body_goes_through_each_stage_in_turn_whole() {
        let source = Whole(b"one\ntwo\n\nlast".to_vec());
        let (all, _) = all(Staged::new(source, vec![stage('a'), stage('b')], None));
        assert_eq!(all, "baone\nbatwo\nba\nlast");
    }

    #[test]
    fn a_body_without_end_gives_others_their_turn() {
        let lines = "x\n".repeat(TURN);
        let source = Whole(lines.clone().into());
        let (all, waits) = all(Staged::new(source, vec![stage('a')], None));
        assert_eq!(all.len(), lines.len() / 2 * 3);
        assert_eq!(waits, 1, "once in the middle");
    }

    /// Gives what it holds only when asked to.
    #[derive(Debug)]
    struct Holds(VecDeque<u8>);

    impl Stage for Holds {
        fn take(&mut self, block: &mut Buffer) -> Taken {
            self.0.extend(block.iter());
            block.advance(block.len());
            Ok(None)
        }

        fn flush(&mut self) -> Taken {
            Ok((!self.0.is_empty()).then(|| Buffer::of(self.0.drain(..).collect())))
        }

        fn finish(&mut self) -> Taken {
            Ok(self.0.pop_front().map(|byte| Buffer::of(vec![byte])))
        }
    }

    #[test]
    fn what_is_held_comes_with_the_end_through_all() {
        let source = Whole(b"a\nb".to_vec());
        let (all, _) = all(Staged::new(source, vec![Box::new(Holds(VecDeque::new())), stage('-')], None));
        assert_eq!(all, "-a\nb");
    }

    /// A body that ends at once, with these names behind it.
    struct Ends(&'static [&'static str]);

    impl Blocks for Ends {
        fn poll_next(&mut self, _: &mut Context<'_>) -> Poll<Result<BodyFrame>> {
            let mut trailers = Fields::default();
            self.0.iter().for_each(|name| trailers.push(name, b"1"));
            Poll::Ready(Ok(BodyFrame::End(Some(Box::new(trailers)))))
        }
    }

    /// Nobody has to say before that there will be one.
    #[test]
    fn what_was_said_of_the_bytes_before_is_left_out() {
        let cases: [(&'static [&'static str], Option<&str>); 3] = [
            (&["Content-Digest", "x-sum", "ETag", "repr-digest"], Some("x-sum")),
            (&["Digest", "Content-MD5"], None),
            (&["Server-Timing"], Some("Server-Timing")),
        ];
        for (names, expected) in cases {
            let mut staged = Staged::new(Ends(names), vec![stage('a')], None);
            let end = match staged.poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(Ok(BodyFrame::End(end))) => end,
                other => panic!("{other:?}"),
            };
            let left = end.map(|end| {
                let names = end.iter().map(|field| String::from_utf8_lossy(field.name).into_owned());
                names.collect::<Vec<_>>().join(" ")
            });
            assert_eq!(left.as_deref(), expected, "{names:?}");
        }
    }
}
