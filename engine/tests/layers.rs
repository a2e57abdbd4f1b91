//! The first tokens after a prefix, computed while its KV comes layer by layer, are the same bits as after it.
#![allow(clippy::unwrap_used, reason = "a test stops where it fails")]

mod common;

use common::{BOTH, bundled, checkpoints, runner};
use kvdepot_codec::{Geometry, KvChunk};
use kvdepot_engine::{Error, LayerFeed, Prefix, Runner};

const TOKENS: [u32; 70] = [9; 70];
const SUFFIX: [u32; 3] = [5, 6, 7];

/// Chunks of which a layer is there only once it was asked for, up to one that never comes.
struct Feed {
    whole: Vec<KvChunk>,
    come: Vec<KvChunk>,
    num_layers: usize,
}

impl Feed {
    /// The KV of [`TOKENS`], in two chunks.
    fn of(runner: &Runner, num_layers: usize) -> Self {
        let mut prefix = Prefix::default();
        runner.prefill(&mut prefix, &TOKENS, |_| {}).unwrap();
        let whole: Vec<KvChunk> =
            [0..64, 64..70].map(|range| runner.export(&prefix, range).unwrap()).into_iter().collect();
        let zeroed = |chunk: &KvChunk| KvChunk::zeroed(*chunk.geometry(), chunk.num_tokens()).unwrap();
        Self { come: whole.iter().map(zeroed).collect(), whole, num_layers }
    }
}

impl LayerFeed for Feed {
    type Error = Error;

    fn layer(&mut self, layer: usize) -> Result<&[KvChunk], Error> {
        if layer >= self.num_layers {
            return Err(Error::Corrupt(format!("layer {layer} is lost")));
        }
        for (come, whole) in self.come.iter_mut().zip(&self.whole) {
            for side in kvdepot_codec::Side::BOTH {
                come.plane_mut(layer, side).copy_from_slice(whole.plane(layer, side));
            }
        }
        Ok(&self.come)
    }
}

#[test]
fn layers_that_come_one_by_one_give_the_same_bits_in_every_architecture() {
    for dir in checkpoints().into_iter().chain([bundled()]) {
        for precision in BOTH {
            let runner = runner(&dir, precision);
            let mut feed = Feed::of(&runner, usize::MAX);
            let (ours, logits) = runner.continue_layerwise(&TOKENS, &SUFFIX, &mut feed).unwrap();
            let mut theirs = runner.import(&TOKENS, &feed.whole).unwrap();
            runner.prefill(&mut theirs, &SUFFIX, |_| {}).unwrap();
            let range = 0..TOKENS.len() + SUFFIX.len();
            assert_eq!(ours.tokens(), theirs.tokens());
            assert!(runner.export(&ours, range.clone()).unwrap() == runner.export(&theirs, range).unwrap(), "{dir:?}");
            let due = runner.continuation_logits(&theirs, &[1]).unwrap();
            assert_eq!(logits.row(0), due.row(0), "{dir:?}, {precision:?}");
        }
    }
}

#[test]
fn a_layer_that_is_lost_leaves_no_pages() {
    let runner = runner(&bundled(), BOTH[0]);
    let mut feed = Feed::of(&runner, 3);
    let lost = runner.continue_layerwise(&TOKENS, &SUFFIX, &mut feed).unwrap_err();
    assert!(matches!(&lost, Error::Corrupt(what) if what.contains("layer 3")), "{lost}");
    assert_eq!(runner.pool().used_bytes(), 0);
}

#[test]
fn what_is_not_the_prefix_is_refused() {
    let runner = runner(&bundled(), BOTH[0]);
    let mut feed = Feed::of(&runner, usize::MAX);
    let refused = |feed: &mut Feed, tokens: &[u32], suffix: &[u32]| {
        matches!(runner.continue_layerwise(tokens, suffix, feed), Err(Error::Invalid(_)))
    };
    assert!(refused(&mut feed, &TOKENS, &[]), "no suffix");
    assert!(refused(&mut feed, &TOKENS[1..], &SUFFIX), "more tokens than named");
    assert!(refused(&mut feed, &TOKENS, &[u32::MAX]), "no such token");
    let other = Geometry::new(6, 2, 8, runner.geometry().dtype()).unwrap();
    feed.whole = vec![KvChunk::zeroed(other, TOKENS.len()).unwrap()];
    feed.come.clone_from(&feed.whole);
    assert!(refused(&mut feed, &TOKENS, &SUFFIX), "another shape");
    assert_eq!(runner.pool().used_bytes(), 0);
}

#[test]
fn a_truncated_prefix_goes_on_as_if_it_had_never_been_longer() {
    let runner = runner(&bundled(), BOTH[1]);
    let mut long = Prefix::default();
    runner.prefill(&mut long, &TOKENS, |_| {}).unwrap();
    for kept in [70, 66, 64, 3, 0] {
        runner.truncate(&mut long, kept).unwrap();
        assert_eq!(long.tokens(), &TOKENS[..kept]);
        let mut grown = Prefix::default();
        runner.prefill(&mut grown, &TOKENS[..kept], |_| {}).unwrap();
        for prefix in [&mut long, &mut grown] {
            runner.prefill(prefix, &SUFFIX, |_| {}).unwrap();
        }
        let export = |prefix| runner.export(prefix, 0..kept + SUFFIX.len()).unwrap();
        assert!(export(&long) == export(&grown), "{kept}");
        runner.truncate(&mut long, kept).unwrap();
    }
    drop(long);
    assert_eq!(runner.pool().used_bytes(), 0);
}
