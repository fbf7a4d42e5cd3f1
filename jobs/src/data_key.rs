//! The key that seals secrets at rest: from the environment, from a file, or made for an embedded database.
//!
//! `TIDEMILL_DATA_KEY` first (older ones in `TIDEMILL_DATA_KEY_PREVIOUS`), then the file that `TIDEMILL_DATA_KEY_FILE`
//! names, then `data.key` in the data directory. That last one is made where there is none and nothing is sealed yet, so
//! that a first start needs no set-up; it is readable by its owner only, and a backup of the database alone can't be read
//! without it. A key file holds one key a line, the current one first.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use secrecy::{ExposeSecret as _, SecretString};
use tidemill::clock::Entropy;
use tidemill::sealing::Sealer;

const NAME: &str = "data.key";
/// More than anybody needs; a file that is longer is something else.
const MAX_BYTES: u64 = 16 * 1024;

/// The sealer; `None` when no key is found and `may_make` forbids to make one.
///
/// # Errors
/// When a key is none, or a file can't be read or made. Names the variable or the file.
pub fn sealer(
    data_dir: &Path,
    lookup: &dyn Fn(&str) -> Option<String>,
    may_make: bool,
    entropy: &Entropy,
) -> anyhow::Result<Option<Sealer>> {
    let get = |name: &str| lookup(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
    let embedded = data_dir.join(NAME);
    let mut keys: Vec<SecretString> = Vec::new();
    if let Some(current) = get("TIDEMILL_DATA_KEY") {
        Sealer::new(&current.clone().into(), &[]).context("TIDEMILL_DATA_KEY")?;
        keys.push(current.into());
        let previous = get("TIDEMILL_DATA_KEY_PREVIOUS").unwrap_or_default();
        keys.extend(previous.split(',').map(str::trim).filter(|k| !k.is_empty()).map(SecretString::from));
    }
    if let Some(file) = get("TIDEMILL_DATA_KEY_FILE") {
        let more = read(Path::new(&file))?.with_context(|| format!("TIDEMILL_DATA_KEY_FILE: there is no {file}"))?;
        keys.extend(more);
    }
    // Though another key is the current one: a command without the service's variables may have used it.
    match read(&embedded)? {
        Some(more) => keys.extend(more),
        None if keys.is_empty() && may_make => keys.extend(make(&embedded, entropy)?),
        None => {}
    }
    let Some((current, previous)) = keys.split_first() else { return Ok(None) };
    Ok(Some(Sealer::new(current, previous).context("a key of TIDEMILL_DATA_KEY_PREVIOUS or of a key file")?))
}

/// Puts a new key before those of the data directory's key file. Processes use it from their next start on.
///
/// # Errors
/// When the file can't be read or written, or the environment names the current key.
pub fn renew(data_dir: &Path, lookup: &dyn Fn(&str) -> Option<String>, entropy: &Entropy) -> anyhow::Result<PathBuf> {
    for name in ["TIDEMILL_DATA_KEY", "TIDEMILL_DATA_KEY_FILE"] {
        let set = lookup(name).is_some_and(|v| !v.trim().is_empty());
        ensure!(!set, "the current key stands in {name}: change it there, and keep the old one as a previous key");
    }
    let path = data_dir.join(NAME);
    let old = read(&path)?.unwrap_or_default();
    let mut text = format!("{}\n", Sealer::new_key(entropy).expose_secret());
    for key in &old {
        text.push_str(key.expose_secret());
        text.push('\n');
    }
    write_aside(&path, &text, entropy, |aside, path| std::fs::rename(aside, path))?;
    Ok(path)
}

fn read(path: &Path) -> anyhow::Result<Option<Vec<SecretString>>> {
    let shown = || format!("the key file {}", path.display());
    match std::fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(shown),
        Ok(found) => ensure!(found.len() <= MAX_BYTES, "{} is longer than a key file is", shown()),
    }
    let text = std::fs::read_to_string(path).with_context(shown)?;
    let keys: Vec<_> = text.lines().map(str::trim).filter(|l| !l.is_empty()).map(SecretString::from).collect();
    ensure!(!keys.is_empty(), "{} holds no key", shown());
    for key in &keys {
        Sealer::new(key, &[]).with_context(shown)?;
    }
    Ok(Some(keys))
}

/// Of several processes that make it at once, all use the one that was first.
fn make(path: &Path, entropy: &Entropy) -> anyhow::Result<Vec<SecretString>> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("the data directory {}", folder.display()))?;
    }
    let text = format!("{}\n", Sealer::new_key(entropy).expose_secret());
    let made = write_aside(path, &text, entropy, |aside, path| match std::fs::hard_link(aside, path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        other => other.map(|()| true),
    })?;
    if made {
        tracing::warn!(
            file = %path.display(),
            "made a key for the secrets of endpoints; keep a copy of it apart from the database, which can't be read without it"
        );
    }
    read(path)?.with_context(|| format!("{} is gone again", path.display()))
}

/// Writes beside `path` and lets `place` put it there, so that nobody reads half a file.
fn write_aside<T>(
    path: &Path,
    text: &str,
    entropy: &Entropy,
    place: impl FnOnce(&Path, &Path) -> std::io::Result<T>,
) -> anyhow::Result<T> {
    let aside = path.with_extension(format!("{}.new", entropy.uuid().simple()));
    let written = (|| {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        place(&aside, path)
    })();
    // Gone already when it was renamed.
    if let Err(error) = std::fs::remove_file(&aside)
        && error.kind() != ErrorKind::NotFound
    {
        tracing::warn!(file = %aside.display(), %error, "a key file's copy could not be taken away");
    }
    written.with_context(|| format!("the key file {} can't be written", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn id(folder: &Path, vars: &[(&str, &str)]) -> String {
        let lookup = |name: &str| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        sealer(folder, &lookup, true, &Entropy::system()).unwrap().unwrap().current_key().to_owned()
    }

    #[test]
    fn a_key_is_made_once_for_its_owner_only_and_found_again() {
        let folder = tempfile::tempdir().unwrap();
        assert!(sealer(folder.path(), &|_| None, false, &Entropy::system()).unwrap().is_none());
        let ids: Vec<String> = std::thread::scope(|scope| {
            let all: Vec<_> = (0..8).map(|_| scope.spawn(|| id(folder.path(), &[]))).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert!(ids.iter().all(|one| *one == ids[0]), "{ids:?}");
        let mode = std::fs::metadata(folder.path().join(NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left behind");
    }

    #[test]
    fn the_environment_goes_before_the_file_and_the_file_still_opens_what_it_sealed() {
        let folder = tempfile::tempdir().unwrap();
        let made = id(folder.path(), &[]);
        let own = Sealer::new_key(&Entropy::seeded(1));
        let vars = [("TIDEMILL_DATA_KEY", own.expose_secret())];
        assert_ne!(id(folder.path(), &vars), made);
        let lookup = |name: &str| (name == vars[0].0).then(|| vars[0].1.to_owned());
        assert!(sealer(folder.path(), &lookup, true, &Entropy::system()).unwrap().unwrap().knows(&made));
        assert!(renew(folder.path(), &lookup, &Entropy::system()).is_err());
    }

    #[test]
    fn a_renewed_file_has_a_new_current_key_and_keeps_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let old = id(folder.path(), &[]);
        renew(folder.path(), &|_| None, &Entropy::system()).unwrap();
        let renewed = sealer(folder.path(), &|_| None, false, &Entropy::system()).unwrap().unwrap();
        assert!(renewed.current_key() != old && renewed.knows(&old));
    }

    #[test]
    fn a_file_that_holds_no_key_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        for text in ["", "hunter2\n"] {
            std::fs::write(folder.path().join(NAME), text).unwrap();
            let error = format!("{:#}", sealer(folder.path(), &|_| None, true, &Entropy::system()).unwrap_err());
            assert!(error.contains(NAME) && !error.contains("hunter2"), "{error}");
        }
    }
}
