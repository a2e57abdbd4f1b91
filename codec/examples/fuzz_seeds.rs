//! Writes seeds of all fuzz targets into the folder given: see docs/fuzzing.md.

use std::collections::HashMap;
use std::io::Cursor;
use std::path::Path;

use kvdepot_codec::container::{Description, Writer};
use kvdepot_codec::{Dtype, EncodeOptions, Geometry, KvChunk, Level, Origin, Rope, RopeScaling, Segment, encode};
use safetensors::tensor::TensorView;

/// Layers, kv heads, head dimension, tokens: parts and wholes of rows, blocks and pairs of tiles.
const SHAPES: [[u32; 4]; 6] =
    [[1, 1, 4, 3], [2, 2, 6, 9], [1, 3, 5, 33], [1, 1, 33, 32], [1, 2, 33, 33], [1, 1, 3, 70]];
const DTYPES: [Dtype; 3] = [Dtype::Bf16, Dtype::F16, Dtype::F32];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).ok_or("name a folder")?;
    let write = |target: &str, name: &str, bytes: &[u8]| -> std::io::Result<()> {
        let folder = Path::new(&folder).join(target);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join(name), bytes)
    };
    for (shape, dtype) in SHAPES.into_iter().flat_map(|shape| DTYPES.map(|dtype| (shape, dtype))) {
        let chunk = chunk(shape, dtype)?;
        let name = format!("{dtype}_{}", shape.map(|size| size.to_string()).join("_"));
        for level in Level::ALL {
            let options = EncodeOptions { layers_per_group: 2, ..EncodeOptions::new(level).at(rope(shape), 40) };
            let segments = encode(&chunk, &options)?;
            for side in kvdepot_codec::Side::BOTH {
                let layers: Vec<&Segment> = segments.iter().filter(|segment| segment.key.side == side).collect();
                write("decode_segment", &format!("{level}_{name}_{side:?}"), &layers[0].bytes)?;
                if layers.len() > 1 {
                    let bytes: Vec<u8> = layers.iter().flat_map(|layer| layer.bytes.clone()).collect();
                    write("decode_layers", &format!("{name}_{side:?}"), &bytes)?;
                }
            }
            if shape[3] < 10 {
                write("container", &format!("{level}_{name}"), &container(&chunk, &options)?)?;
            }
        }
        if shape[3] < 10 {
            write("dump", &name, &dump(&chunk)?)?;
        }
        for fill in 0..3 {
            write("round_trip", &format!("{fill}_{name}"), &case(shape, dtype, fill))?;
        }
    }
    Ok(())
}

fn rope(shape: [u32; 4]) -> Rope {
    let [factor, low_freq_factor, high_freq_factor, original_context] = [8.0, 1.0, 4.0, 8192.0];
    let llama3 = RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context };
    Rope { theta: 10_000.0, scaling: if shape[1] == 2 { llama3 } else { RopeScaling::None } }
}

/// Channels of different spread, with outliers.
fn chunk([num_layers, num_kv_heads, head_dim, num_tokens]: [u32; 4], dtype: Dtype) -> kvdepot_codec::Result<KvChunk> {
    let geometry = Geometry::new(num_layers, num_kv_heads, head_dim, dtype)?;
    let num_elements = geometry.kv_bytes(num_tokens as usize) / dtype.bytes();
    let mut state = 1u32;
    let elements = (0..num_elements).flat_map(|place| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let channel = place % geometry.channels();
        let noise = (state >> 16) as f32 / 65_536.0 - 0.5;
        let outlier = if state >> 24 == 7 { 40.0 } else { 1.0 };
        let value = if channel == 2 { 0.0 } else { channel as f32 / 8.0 + noise * outlier * (1 + channel % 5) as f32 };
        match dtype {
            Dtype::Bf16 => half::bf16::from_f32(value).to_le_bytes().to_vec(),
            Dtype::F16 => half::f16::from_f32(value).to_le_bytes().to_vec(),
            Dtype::F32 => value.to_le_bytes().to_vec(),
        }
    });
    KvChunk::from_bytes(geometry, num_tokens as usize, elements.collect())
}

fn origin() -> Origin {
    let metadata = [("tokens".to_owned(), "1,2".to_owned())].into();
    Origin { rope_theta: 10_000.0, first_position: 40, metadata }
}

/// The chunk twice.
fn container(chunk: &KvChunk, options: &EncodeOptions) -> std::io::Result<Vec<u8>> {
    let (geometry, chunk_tokens) = (*chunk.geometry(), chunk.num_tokens());
    let segments = encode(chunk, options)?;
    let description = Description { geometry, num_tokens: 2 * chunk_tokens, chunk_tokens, origin: origin() };
    let mut writer = Writer::new(Cursor::new(Vec::new()), description, segments.len())?;
    writer.push(&segments)?;
    writer.push(&segments)?;
    Ok(writer.finish()?.into_inner())
}

fn dump(chunk: &KvChunk) -> Result<Vec<u8>, safetensors::SafeTensorError> {
    let geometry = chunk.geometry();
    let dtype = match geometry.dtype() {
        Dtype::Bf16 => safetensors::Dtype::BF16,
        Dtype::F16 => safetensors::Dtype::F16,
        Dtype::F32 => safetensors::Dtype::F32,
    };
    let zeros = vec![0; geometry.plane_bytes(chunk.num_tokens())];
    let shape = vec![chunk.num_tokens(), geometry.num_kv_heads(), geometry.head_dim()];
    let names = (0..geometry.num_layers()).flat_map(|layer| [format!("k.{layer}"), format!("v.{layer}")]);
    let tensors = names.map(|name| Ok((name, TensorView::new(dtype, shape.clone(), &zeros)?)));
    let tensors: Vec<_> = tensors.collect::<Result<_, safetensors::SafeTensorError>>()?;
    let strings = [("rope_theta", "1e4"), ("first_position", "0"), ("tokens", "1,2")];
    let strings: HashMap<_, _> = strings.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    safetensors::serialize(tensors, Some(strings))
}

/// An input of `round_trip`: its fixed part, and some overrides or elements.
fn case(shape: [u32; 4], dtype: Dtype, fill: u8) -> Vec<u8> {
    let [num_layers, num_kv_heads, head_dim, num_tokens] = shape.map(|size| size as u8 - 1);
    let mut bytes = vec![num_layers, num_kv_heads, head_dim, num_tokens, dtype as u8 - 1, 1, 1];
    bytes.extend_from_slice(&40u64.to_le_bytes());
    bytes.extend_from_slice(&10_000f64.to_le_bytes());
    bytes.push(u8::from(shape[1] == 2));
    [8.0, 1.0, 4.0, 8192.0f64].map(|number| bytes.extend_from_slice(&number.to_le_bytes()));
    bytes.extend_from_slice(&[fill, 7]);
    [1.0, 2.0f32].map(|number| bytes.extend_from_slice(&number.to_le_bytes()));
    bytes.extend_from_slice(&[5, 0, 0, 0, 0x80, 0x42, 9, 0, 0, 0, 0, 0x4a]);
    bytes
}
