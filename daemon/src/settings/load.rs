//! Where settings come from, and the refusal of those that do not exist.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;

use config::{Config, ConfigError, Environment, File, FileFormat, Value, ValueKind};
use kvdepot_proto::data_dir::default_data_dir;
use kvdepot_proto::{Error, Result};

use super::Settings;

const ENVIRONMENT_PREFIX: &str = "KVDEPOT";
const SEPARATOR: &str = "__";
/// In a user's configuration directory.
const DEFAULT_FILE: &str = "kvdepot/kvdepotd.toml";

/// Where settings come from, weakest first.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The data directory, unless another source names one.
    pub data_dir: Option<PathBuf>,
    /// TOML file; it must be there.
    pub file: Option<PathBuf>,
    /// Environment; only names that begin with `KVDEPOT__` are read.
    pub environment: HashMap<String, String>,
    /// Setting and value, such as `store.sync` and `true`.
    pub flags: Vec<(String, String)>,
}

impl Sources {
    /// The sources of this process: `file`, or the user's own if there is one, the environment, and `flags`.
    pub fn of_process(file: Option<PathBuf>, flags: Vec<(String, String)>) -> Self {
        let text = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        let environment: HashMap<_, _> = std::env::vars_os().filter_map(text).collect();
        let file = file.or_else(|| default_file(&environment).filter(|path| path.is_file()));
        Self { data_dir: default_data_dir(), file, environment, flags }
    }

    /// Reads and checks the settings.
    ///
    /// # Errors
    /// `Invalid`, naming the setting and the source, for unknown settings and values that do not fit.
    pub fn load(&self) -> Result<Settings> {
        let merged = self.merge().map_err(invalid)?;
        refuse_unknown(&merged.cache)?;
        let settings: Settings = merged.try_deserialize().map_err(invalid)?;
        settings.check()?;
        Ok(settings)
    }

    fn merge(&self) -> std::result::Result<Config, ConfigError> {
        let data_dir = self.data_dir.clone().unwrap_or_default();
        let mut builder = Config::builder().add_source(Config::try_from(&Settings::in_dir(data_dir))?);
        if let Some(file) = &self.file {
            builder = builder.add_source(File::from(file.as_path()).format(FileFormat::Toml).required(true));
        }
        let environment = Environment::with_prefix(ENVIRONMENT_PREFIX).separator(SEPARATOR);
        builder = builder.add_source(environment.source(Some(self.environment.clone())));
        for (name, value) in &self.flags {
            builder = builder.set_override(name, value.as_str())?;
        }
        builder.build()
    }
}

fn default_file(environment: &HashMap<String, String>) -> Option<PathBuf> {
    let absolute = |name| environment.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let config_dir = absolute("XDG_CONFIG_HOME").or_else(|| absolute("HOME").map(|home| home.join(".config")))?;
    Some(config_dir.join(DEFAULT_FILE))
}

fn refuse_unknown(merged: &Value) -> Result<()> {
    let defaults = Config::try_from(&Settings::in_dir("")).map_err(invalid)?;
    let known: BTreeSet<_> = leaves("", &defaults.cache).into_iter().map(|(name, _)| name).collect();
    match leaves("", merged).into_iter().find(|(name, _)| !known.contains(name)) {
        Some((name, value)) => {
            let origin = value.origin().unwrap_or("the flags");
            let known = known.into_iter().collect::<Vec<_>>().join(", ");
            Err(Error::invalid(format!("unknown setting {name} in {origin}: there are {known}")))
        }
        None => Ok(()),
    }
}

/// Every value that is no table, with its dotted name.
fn leaves<'a>(prefix: &str, value: &'a Value) -> Vec<(String, &'a Value)> {
    let ValueKind::Table(table) = &value.kind else { return vec![(prefix.to_owned(), value)] };
    let dotted = |name: &String| if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
    table.iter().flat_map(|(name, value)| leaves(&dotted(name), value)).collect()
}

fn invalid(error: ConfigError) -> Error {
    Error::invalid(format!("settings: {error}"))
}
