//! Random weights, drawn tensor by tensor while they are written.

use std::borrow::Cow;
use std::path::Path;

use kvdepot_client::{Error, ErrorKind, files};
use safetensors::{Dtype, View};

use super::super::random;
use super::Shape;

/// bf16 of 1.
const ONE: u16 = 0x3f80;

/// A tensor that is drawn when it is asked for.
struct Drawn {
    shape: Vec<usize>,
    seed: u64,
}

impl View for &Drawn {
    fn dtype(&self) -> Dtype {
        Dtype::BF16
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Ones for the weights of a norm, so that activations stay in range.
    fn data(&self) -> Cow<'_, [u8]> {
        let count = self.shape.iter().product();
        Cow::Owned(match self.shape[..] {
            [_] => ONE.to_le_bytes().repeat(count),
            _ => random::bf16(self.seed).take(count).flat_map(u16::to_le_bytes).collect(),
        })
    }

    fn data_len(&self) -> usize {
        self.shape.iter().product::<usize>() * size_of::<u16>()
    }
}

pub(super) fn write(shape: &Shape, path: &Path) -> anyhow::Result<()> {
    let tensors: Vec<(String, Drawn)> =
        shape.tensors().into_iter().zip(1..).map(|((name, shape), seed)| (name, Drawn { shape, seed })).collect();
    let views = tensors.iter().map(|(name, drawn)| (name.as_str(), drawn));
    let metadata = Some([("format".to_owned(), "pt".to_owned())].into());
    let refused = |error| Error::new(ErrorKind::Internal, format!("{}: {error}", path.display()));
    let serialize = |part: &Path| safetensors::serialize_to_file(views, metadata, part).map_err(refused);
    files::write_whole(path, serialize)?;
    Ok(())
}
