//! The members of a JSON object, each taken once, by name.

use kvdepot_client::{Error, Result};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// What has not been taken of an object.
pub(super) struct Fields {
    left: Map<String, Value>,
}

impl Fields {
    /// # Errors
    /// `Invalid` when the value is no object.
    pub(super) fn new(body: Value) -> Result<Self> {
        match body {
            Value::Object(left) => Ok(Self { left }),
            _ => Err(Error::invalid("the body is not a JSON object")),
        }
    }

    /// A member; none where it is missing or null.
    ///
    /// # Errors
    /// `Invalid` when it is there and of another type.
    pub(super) fn take<T: DeserializeOwned>(&mut self, name: &str) -> Result<Option<T>> {
        match self.left.remove(name) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => {
                let refused = |error| Error::invalid(format!("parameter {name:?} is not valid: {error}"));
                serde_json::from_value(value).map(Some).map_err(refused)
            }
        }
    }

    /// A member that must be there.
    ///
    /// # Errors
    /// `Invalid` when it is not, or is of another type.
    pub(super) fn need<T: DeserializeOwned>(&mut self, name: &str) -> Result<T> {
        self.take(name)?.ok_or_else(|| Error::invalid(format!("parameter {name:?} is missing")))
    }

    /// Refuses what nobody has taken, but for members that change nothing here.
    ///
    /// # Errors
    /// `Invalid` with their names.
    pub(super) fn finish(mut self, without_effect: &[&str]) -> Result<()> {
        without_effect.iter().for_each(|name| _ = self.left.remove(*name));
        self.left.retain(|_, value| !value.is_null());
        if self.left.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = self.left.keys().map(|name| format!("{name:?}")).collect();
        Err(Error::invalid(format!("unknown parameter: {}", names.join(", "))))
    }
}
