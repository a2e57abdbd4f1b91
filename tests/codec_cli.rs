//! `kvdepot codec` gives back every bit of a dump, says what it did, and says it the same in JSON.

use std::path::{Path, PathBuf};
use std::{fs::File, io::BufWriter};

use kvdepot_codec::container::{Container, Writer};
use kvdepot_codec::{Dtype, KvChunk, Segment, Side, dump::KvDump};
use kvdepot_tests::{Cli, KvSource};
use tempfile::TempDir;

/// A dump in a directory of its own, encoded at `level`.
struct Encoded {
    _dir: TempDir,
    dump: PathBuf,
    kvd: PathBuf,
    report: serde_json::Value,
}

impl Encoded {
    fn make(dtype: Dtype, num_tokens: usize, level: &str) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let (dump, kvd) = (dir.path().join("in.safetensors"), dir.path().join("out.kvd"));
        KvSource::small(dtype, 7)?.write_dump(&dump, num_tokens)?;
        let report = Cli::new().json([
            "codec".as_ref(),
            "encode".as_ref(),
            "--level".as_ref(),
            level.as_ref(),
            dump.as_os_str(),
            kvd.as_os_str(),
        ])?;
        Ok(Self { _dir: dir, dump, kvd, report })
    }

    /// Rewrites the file with the segments that `keep` says, as many of each chunk.
    fn keep(&self, keep: impl Fn(&Segment) -> bool) -> anyhow::Result<()> {
        let bytes = std::fs::read(&self.kvd)?;
        let container = Container::parse(&bytes)?;
        let segments_of = |chunk| -> Vec<_> {
            let segments = container.segments(chunk).map(|(key, bytes)| Segment { key, bytes: bytes.to_vec() });
            segments.filter(&keep).collect()
        };
        let out = BufWriter::new(File::create(&self.kvd)?);
        let mut writer = Writer::new(out, container.description().clone(), segments_of(0).len())?;
        (0..container.description().num_chunks()).try_for_each(|chunk| writer.push(&segments_of(chunk)))?;
        writer.finish()?;
        Ok(())
    }

    fn inspect(&self) -> anyhow::Result<serde_json::Value> {
        Cli::new().json(["codec".as_ref(), "inspect".as_ref(), self.kvd.as_os_str()])
    }

    fn decode(&self) -> anyhow::Result<PathBuf> {
        let out = self.kvd.with_extension("safetensors");
        Cli::new().json(["codec".as_ref(), "decode".as_ref(), self.kvd.as_os_str(), out.as_os_str()])?;
        Ok(out)
    }
}

/// KV, tokens and metadata of a dump.
fn content(path: &Path) -> anyhow::Result<(Vec<KvChunk>, kvdepot_codec::Origin)> {
    let bytes = std::fs::read(path)?;
    let dump = KvDump::parse(&bytes)?;
    let starts = (0..dump.num_tokens()).step_by(KvChunk::MAX_TOKENS);
    let chunks = starts
        .map(|start| dump.chunk(start, KvChunk::MAX_TOKENS.min(dump.num_tokens() - start)))
        .collect::<Result<_, _>>()?;
    Ok((chunks, dump.origin().clone()))
}

#[test]
fn lossless_encoding_gives_back_every_bit_and_the_metadata() -> anyhow::Result<()> {
    for dtype in [Dtype::Bf16, Dtype::F16, Dtype::F32] {
        for num_tokens in [1, 31, 257, 513] {
            let encoded = Encoded::make(dtype, num_tokens, "q0")?;
            let decoded = encoded.decode()?;
            assert_eq!(content(&encoded.dump)?, content(&decoded)?, "{dtype}, {num_tokens} tokens, seed 7");
        }
    }
    Ok(())
}

#[test]
fn lossless_encoding_is_smaller_than_a_dump_like_a_models() -> anyhow::Result<()> {
    let encoded = Encoded::make(Dtype::Bf16, 1024, "q0")?;
    let on_disk = std::fs::metadata(&encoded.kvd)?.len();
    assert_eq!(encoded.report["encoded_bytes"], on_disk);
    assert!(encoded.report["ratio"].as_f64() > Some(1.2), "{}", encoded.report);
    assert!(encoded.report["bits_per_value"].as_f64() < Some(13.0), "{}", encoded.report);
    Ok(())
}

#[test]
fn inspect_measures_the_error_that_decoding_shows() -> anyhow::Result<()> {
    let encoded = Encoded::make(Dtype::F32, 300, "q2")?;
    let inspection = encoded.inspect()?;
    let (original, _) = content(&encoded.dump)?;
    let (decoded, _) = content(&encoded.decode()?)?;
    let largest = inspection["layers"]
        .as_array()
        .map(|layers| layers.iter().filter_map(|layer| layer["max_error"].as_f64()).fold(0.0, f64::max));
    let measured = elements(&original)
        .zip(elements(&decoded))
        .map(|(original, decoded)| f64::from((original - decoded).abs()))
        .fold(0.0, f64::max);
    assert!(measured > 0.0, "q2 is lossy");
    assert!(largest.is_some_and(|stated| (stated - measured).abs() <= 1e-6 * measured), "{largest:?} {measured}");
    assert_eq!((&inspection["tokens"], &inspection["levels"]), (&300.into(), &serde_json::json!(["q2"])));
    Ok(())
}

fn elements(chunks: &[KvChunk]) -> impl Iterator<Item = f32> + '_ {
    chunks.iter().flat_map(|chunk| f32s(chunk.bytes()))
}

fn f32s(bytes: &[u8]) -> impl Iterator<Item = f32> + '_ {
    bytes.chunks_exact(4).map(|element| element.try_into().map_or(f32::NAN, f32::from_le_bytes))
}

#[test]
fn inspect_shows_people_a_row_per_layer_and_side() -> anyhow::Result<()> {
    let encoded = Encoded::make(Dtype::Bf16, 64, "q0")?;
    let outcome = Cli::new().run(["codec".as_ref(), "inspect".as_ref(), encoded.kvd.as_os_str()])?;
    assert_eq!(outcome.code, 0, "{outcome:?}");
    let rows = outcome.stdout.lines().filter(|line| matches!(line.split_whitespace().nth(1), Some("k" | "v"))).count();
    assert_eq!(rows, 8, "{}", outcome.stdout);
    Ok(())
}

#[test]
fn inspect_draws_the_error_of_all_chunks_and_of_each() -> anyhow::Result<()> {
    let encoded = Encoded::make(Dtype::Bf16, 300, "q2")?;
    let arguments = ["codec".as_ref(), "inspect".as_ref(), "--by-chunk".as_ref(), encoded.kvd.as_os_str()];
    let text = Cli::new().run(arguments)?.stdout;
    let cells = |side: char| {
        let shaded = |line: &&str| line.starts_with(side) && line.trim_end().ends_with(['░', '▒', '▓', '█']);
        text.lines().filter(shaded).count()
    };
    assert_eq!([cells('k'), cells('v')], [3, 3], "{text}");
    assert!(!text.contains('\x1b'), "no colours without a terminal");
    let report = Cli::new().json(arguments)?;
    assert_eq!(report["by_chunk"].as_array().map(Vec::len), Some(2), "{report}");
    assert_eq!(report["by_chunk"][1].as_array().map(Vec::len), Some(8), "{report}");
    Ok(())
}

#[test]
fn a_layered_level_shrinks_and_keeps_the_metadata() -> anyhow::Result<()> {
    for (dtype, ratio) in [(Dtype::Bf16, 2.0), (Dtype::F16, 2.0), (Dtype::F32, 4.0)] {
        let encoded = Encoded::make(dtype, 513, "q3")?;
        assert!(encoded.report["ratio"].as_f64() > Some(ratio), "{}", encoded.report);
        let ((_, origin), (decoded, decoded_origin)) = (content(&encoded.dump)?, content(&encoded.decode()?)?);
        assert_eq!((origin, 513), (decoded_origin, decoded.iter().map(KvChunk::num_tokens).sum()));
    }
    Ok(())
}

/// A row of `inspect`: layer, side, quality layer, largest error.
fn rows(inspection: &serde_json::Value) -> Vec<(u64, String, u64, f64)> {
    let row = |row: &serde_json::Value| {
        let side = row["side"].as_str()?.to_owned();
        Some((row["first_layer"].as_u64()?, side, row["quality"].as_u64()?, row["max_error"].as_f64()?))
    };
    inspection["layers"].as_array().into_iter().flatten().filter_map(row).collect()
}

#[test]
fn inspect_states_the_error_with_each_quality_layer_and_decoding_shows_it() -> anyhow::Result<()> {
    let encoded = Encoded::make(Dtype::F32, 300, "q3")?;
    let (original, _) = content(&encoded.dump)?;
    let all = rows(&encoded.inspect()?);
    assert_eq!(all.len(), 4 * (3 + 2), "layers, quality layers of both sides");
    for quality in (0..3).rev() {
        encoded.keep(|segment| segment.key.quality <= quality)?;
        let rows = rows(&encoded.inspect()?);
        let expected: Vec<_> = all.iter().filter(|row| row.2 <= quality.into()).cloned().collect();
        assert_eq!(rows, expected);
        let (decoded, _) = content(&encoded.decode()?)?;
        for (layer, side, name) in (0..4).flat_map(|layer| [(layer, Side::K, "k"), (layer, Side::V, "v")]) {
            let stated = rows.iter().rfind(|row| (row.0, row.1.as_str()) == (layer as u64, name)).map(|row| row.3);
            let planes = original
                .iter()
                .zip(&decoded)
                .flat_map(|(a, b)| f32s(a.plane(layer, side)).zip(f32s(b.plane(layer, side))));
            let measured = planes.map(|(a, b)| f64::from((a - b).abs())).fold(0.0, f64::max);
            assert!(
                stated.is_some_and(|stated| (stated - measured).abs() <= 1e-6 * measured),
                "{name} of layer {layer} up to quality {quality}: {stated:?} stated, {measured} measured"
            );
        }
    }
    Ok(())
}

#[test]
fn a_file_without_a_base_or_with_a_gap_above_it_does_not_decode() -> anyhow::Result<()> {
    for (missing, words) in [(0, "without those below it"), (1, "does not refine")] {
        let encoded = Encoded::make(Dtype::Bf16, 64, "q3")?;
        encoded.keep(|segment| segment.key.quality != missing)?;
        let out = encoded.kvd.with_extension("safetensors");
        let outcome =
            Cli::new().run(["codec".as_ref(), "decode".as_ref(), encoded.kvd.as_os_str(), out.as_os_str()])?;
        assert_eq!((outcome.code, out.exists()), (2, false), "{outcome:?}");
        assert!(outcome.stderr.contains(words), "{outcome:?}");
    }
    Ok(())
}
