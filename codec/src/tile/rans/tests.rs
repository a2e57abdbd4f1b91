//! The coder against itself, and against `constriction` lane by lane.

use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;

use constriction::Stack;
use constriction::backends::ReadWords;
use constriction::stream::model::SmallContiguousCategoricalEntropyModel;
use constriction::stream::stack::{AnsCoder, SmallAnsCoder};
use constriction::stream::{Decode, Encode};
use proptest::prelude::*;

use super::*;
use crate::model::model_set;

/// Models by one number, over all families.
fn model(pick: usize) -> (&'static Model, u8) {
    let set = model_set();
    let models: Vec<_> = set.symbols_16.iter().chain(&set.symbols_32).chain(&set.exponents).collect();
    let model = models[pick % models.len()];
    (model, model.costs().len() as u8)
}

/// Channels of one tile: a model each, and symbols that follow it roughly.
fn channels() -> impl Strategy<Value = Vec<(usize, Vec<u8>)>> {
    (1usize..100, 1usize..12).prop_flat_map(|(num_tokens, num_channels)| {
        let channel = (0usize..42, prop::collection::vec(any::<u32>(), num_tokens));
        prop::collection::vec(channel, num_channels).prop_map(|channels| {
            let symbols_of = |(pick, states): (usize, Vec<u32>)| {
                let (model, alphabet) = model(pick);
                let symbol = |state: u32| match state >> 28 {
                    0 => (state % u32::from(alphabet)) as u8,
                    _ => model.slot(state).symbol(),
                };
                (pick, states.into_iter().map(symbol).collect())
            };
            channels.into_iter().map(symbols_of).collect()
        })
    })
}

fn encode_all(channels: &[(usize, Vec<u8>)]) -> Stream {
    encode(channels.iter().map(|(pick, symbols)| (model(*pick).0, symbols.as_slice())))
}

fn bytes_of(stream: &Stream) -> Vec<u8> {
    let states = stream.states.iter().flat_map(|state| state.to_le_bytes());
    states.chain(stream.words.iter().flat_map(|word| word.to_le_bytes())).collect()
}

fn decode_all(stream: &Stream, channels: &[(usize, Vec<u8>)]) -> Result<Vec<Vec<u8>>> {
    let bytes = bytes_of(stream);
    let mut decoder = Decoder::parse(&mut Cursor::new(&bytes, 0), LANES, stream.words.len())?;
    let mut decoded = Vec::new();
    for (pick, symbols) in channels {
        let mut out = vec![0; symbols.len()];
        decoder.channel(model(*pick).0, &mut out)?;
        decoded.push(out);
    }
    decoder.finish()?;
    Ok(decoded)
}

/// The words of a tile, read front to back by whichever lane asks next.
#[derive(Clone)]
struct SharedWords(Rc<[u16]>, Rc<Cell<usize>>);

impl ReadWords<u16, Stack> for SharedWords {
    type ReadError = Infallible;

    fn read(&mut self) -> std::result::Result<Option<u16>, Infallible> {
        let position = self.1.get();
        self.1.set(position + 1);
        Ok(self.0.get(position).copied())
    }
}

fn oracle_model(model: &Model) -> SmallContiguousCategoricalEntropyModel {
    let freqs = (0..model.costs().len()).map(|symbol| model.slice(symbol as u8).freq as u16);
    SmallContiguousCategoricalEntropyModel::from_nonzero_fixed_point_probabilities(freqs, false).unwrap()
}

/// Rows in decoding order: the model, and one symbol per lane.
fn rows(channels: &[(usize, Vec<u8>)]) -> Vec<(SmallContiguousCategoricalEntropyModel, &[u8])> {
    channels
        .iter()
        .flat_map(|(pick, symbols)| {
            let oracle = oracle_model(model(*pick).0);
            symbols.chunks(LANES).map(move |row| (oracle.clone(), row))
        })
        .collect()
}

proptest! {
    #[test]
    fn decoding_gives_back_what_was_encoded(channels in channels()) {
        let expected: Vec<_> = channels.iter().map(|(_, symbols)| symbols.clone()).collect();
        prop_assert_eq!(decode_all(&encode_all(&channels), &channels).unwrap(), expected);
    }

    #[test]
    fn constriction_decodes_the_stream_lane_by_lane(channels in channels()) {
        let stream = encode_all(&channels);
        let words = SharedWords(stream.words.clone().into(), Rc::default());
        let mut lanes: Vec<AnsCoder<u16, u32, SharedWords>> =
            stream.states.iter().map(|&state| AnsCoder::from_raw_parts(words.clone(), state)).collect();
        for (oracle, row) in rows(&channels) {
            for (lane, &symbol) in lanes.iter_mut().zip(row) {
                prop_assert_eq!(lane.decode_symbol(oracle.as_view()).unwrap(), usize::from(symbol));
            }
        }
        prop_assert_eq!(words.1.get(), stream.words.len());
        prop_assert!(lanes.into_iter().all(|lane| lane.into_raw_parts().1 == STATE_FLOOR));
    }

    #[test]
    fn constriction_encodes_the_same_words(channels in channels()) {
        let stream = encode_all(&channels);
        let mut lanes = vec![SmallAnsCoder::from_raw_parts(Vec::new(), STATE_FLOOR); LANES];
        let mut words = Vec::new();
        for (oracle, row) in rows(&channels).into_iter().rev() {
            for (lane, &symbol) in lanes.iter_mut().zip(row).rev() {
                let before = lane.bulk().len();
                lane.encode_symbol(usize::from(symbol), oracle.as_view()).unwrap();
                words.extend_from_slice(&lane.bulk()[before..]);
            }
        }
        words.reverse();
        prop_assert_eq!(words, stream.words.clone());
        let states: Vec<u32> = lanes.into_iter().map(|lane| lane.into_raw_parts().1).collect();
        prop_assert_eq!(states, stream.states.to_vec());
    }

    #[test]
    fn a_missing_or_surplus_word_is_corrupt(channels in channels(), surplus in any::<u16>()) {
        let mut stream = encode_all(&channels);
        stream.words.push(surplus);
        prop_assert!(decode_all(&stream, &channels).is_err());
        stream.words.truncate(stream.words.len().saturating_sub(2));
        prop_assert!(stream.words.is_empty() || decode_all(&stream, &channels).is_err());
    }
}

#[test]
fn the_rate_is_close_to_the_sum_of_code_lengths() {
    let model = &model_set().symbols_16[8];
    let symbols: Vec<u8> = (0..32_768u32).map(|i| model.slot(i.wrapping_mul(2_654_435_761) >> 12).symbol()).collect();
    let cost: u64 = symbols.iter().map(|&symbol| u64::from(model.costs()[usize::from(symbol)])).sum();
    let stream = encode([(model, symbols.as_slice())].into_iter());
    let bits = (stream.words.len() * 16) as f64;
    assert!((bits / (cost as f64 / 256.0) - 1.0).abs() < 0.005, "{bits} bits, code length {}", cost / 256);
}
