//! Opening a file by its path, and nothing else: no pipe that would be waited for, no device, and no link where links are
//! not followed.

use std::{
    fs::{self, File, Metadata, OpenOptions},
    io::{self, ErrorKind},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

/// How often it is tried again when another file takes the place of the one that was looked at.
const TRIES: usize = 16;

/// What becomes of symbolic links.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Links {
    /// They lead to the file.
    Followed,
    /// They are refused: what one leads to is somebody else's, and with the link in its place gone, nobody would find it
    /// any more.
    Refused,
}

/// What the file is like, if there is one.
///
/// # Errors
/// It is something else than a file; the system refuses.
pub(super) fn look(path: &Path, links: Links) -> io::Result<Option<Metadata>> {
    let data = if links == Links::Followed { fs::metadata(path) } else { fs::symlink_metadata(path) };
    match data {
        Ok(data) if data.is_symlink() => {
            Err(io::Error::other("it is a symbolic link, which is neither followed nor replaced: name the file itself"))
        }
        Ok(data) if data.is_dir() => Err(io::Error::other("it is a directory: name a file in it")),
        Ok(data) if !data.is_file() => Err(io::Error::other("it is not a file; move it away")),
        Ok(data) => Ok(Some(data)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Opens the file, if there is one; with what the opened one is like. That is the one that was looked at before: what
/// somebody has put in its place in between is neither followed nor waited for, and looked at anew.
///
/// # Errors
/// As for [`look`]; its place is taken again and again.
pub(super) fn open(path: &Path, options: &mut OpenOptions, links: Links) -> io::Result<Option<(File, Metadata)>> {
    // A pipe that is there by now would wait for its other end, and so would the caller.
    let no_link = if links == Links::Refused { libc::O_NOFOLLOW } else { 0 };
    options.custom_flags(libc::O_NONBLOCK | no_link);
    for _ in 0..TRIES {
        let Some(before) = look(path, links)? else { return Ok(None) };
        match options.open(path) {
            Ok(file) => {
                let data = file.metadata()?;
                if is_same(&before, &data) {
                    return Ok(Some((file, data)));
                }
            }
            // What such an error is about need not be the file that was looked at.
            Err(error) if look(path, links)?.is_some_and(|after| is_same(&before, &after)) => return Err(error),
            Err(_) => {}
        }
    }
    Err(io::Error::other("another file takes its place again and again"))
}

/// Whether two paths are one file's: they are the same path, or lead to the same file. One that is not there yet is known
/// by its directory and its name.
pub(super) fn is_one(a: &Path, b: &Path) -> bool {
    let place = |path: &Path| {
        let path = std::path::absolute(path).ok()?;
        let (directory, name) = (path.parent()?, path.file_name()?);
        Some(directory.canonicalize().unwrap_or_else(|_| directory.to_owned()).join(name))
    };
    let are_same = fs::metadata(a).is_ok_and(|a| fs::metadata(b).is_ok_and(|b| is_same(&a, &b)));
    are_same || a == b || place(a).is_some_and(|a| place(b).is_some_and(|b| a == b))
}

fn is_same(a: &Metadata, b: &Metadata) -> bool {
    (a.dev(), a.ino()) == (b.dev(), b.ino()) && b.file_type() == a.file_type()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::process::Command;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn what_is_opened_is_a_file_whatever_is_put_in_its_place_meanwhile() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        fs::write(at("secret"), "somebody else's").unwrap();
        fs::write(at("file"), "own").unwrap();
        assert!(Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
        let ends = AtomicBool::new(false);
        let mut opened = 0;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for turn in 0_u64.. {
                    if ends.load(Ordering::Relaxed) {
                        break;
                    }
                    let next = at("next");
                    match turn % 3 {
                        0 => symlink(at("secret"), &next).unwrap(),
                        1 => fs::hard_link(at("pipe"), &next).unwrap(),
                        _ => fs::write(&next, "own").unwrap(),
                    }
                    fs::rename(&next, at("file")).unwrap();
                }
            });
            for writes in [false, true].into_iter().cycle().take(8000) {
                let found = open(&at("file"), OpenOptions::new().read(!writes).write(writes), Links::Refused);
                if let Ok(Some((file, data))) = found {
                    opened += 1;
                    assert!(data.is_file());
                    assert!(writes || io::read_to_string(file).unwrap() == "own");
                }
            }
            ends.store(true, Ordering::Relaxed);
        });
        assert!(opened > 0, "now and then there was a file");
    }

    #[test]
    fn a_file_is_the_same_by_whatever_path() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        fs::create_dir(at("d")).unwrap();
        for name in ["a", "b"] {
            fs::write(at(name), "").unwrap();
        }
        symlink(at("a"), at("link")).unwrap();
        symlink(at("d"), at("e")).unwrap();
        fs::hard_link(at("a"), at("hard")).unwrap();
        for (one, other) in
            [("a", "a"), ("a", "link"), ("a", "hard"), ("a", "d/../a"), ("none", "none"), ("d/none", "e/none")]
        {
            assert!(is_one(&at(one), &at(other)), "{one} {other}");
        }
        for (one, other) in [("a", "b"), ("a", "none"), ("none", "other"), ("d/none", "none"), ("d", "a")] {
            assert!(!is_one(&at(one), &at(other)), "{one} {other}");
        }
    }
}
