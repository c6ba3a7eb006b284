//! The one list of everything that decides what machine code a translator makes of a bytecode.
//!
//! A stored program may be used as long as compiling afresh would give the same one; so whatever
//! changes the outcome has to be part of what it is found by. [`Determinants`] is a list of named
//! facts, built once by whoever owns the translator, and everything else is derived from it by going
//! through the list, never by naming its members again:
//!
//! * the [`BuildId`], and so the artifact's name in the store, is a hash of the list;
//! * the manifest is the list, line by line, and what belongs to the single artifact;
//! * the check before loading compares the two lists, fact by fact.
//!
//! [`Inputs`] is a struct without defaults: a translator that forgets one does not compile.
//!
//! CPU features are facts like the others. Machines with different CPUs that share a folder each
//! keep their own artifacts in it.

use super::error::{ArtifactError, ManifestField};
use alloy_primitives::{hex, keccak256};
use std::fmt;

/// The one artifact format that is read and written.
pub const FORMAT: u32 = 3;

/// Bound of the number of facts.
pub const MAX_DETERMINANTS: usize = 64;

/// What a translator's code depends on. Values are printable ASCII.
#[derive(Clone, Copy, Debug)]
pub struct Inputs<'a> {
    /// Which translator it is: its name, and its version if that is not this crate's.
    pub translator: &'a str,
    /// The code generator's exact version, with that of everything in it that decides the code.
    pub generator: &'a str,
    /// Version of the translation; changes whenever the same bytecode may give other code.
    pub compiler_version: u32,
    /// Version of what the code expects of its caller.
    pub abi_version: u32,
    /// What identifies the rules that are compiled in: fork, gas schedule, opcodes.
    pub rules: &'a str,
    /// The settings that change the code.
    pub options: &'a str,
    /// The instruction-set extensions that the code may use; in any order.
    pub cpu_features: &'a [&'a str],
    /// What else this translator depends on, by names of its own.
    pub further: &'a [(&'a str, &'a str)],
}

/// Everything that decides the code; see the [module](self).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Determinants {
    facts: Vec<(String, String)>,
}

impl Determinants {
    /// The list of these inputs, of this crate's own version and formats, and of the target.
    ///
    /// # Errors
    /// [`ArtifactError::Malformed`] if a name is not of lower-case ASCII letters, digits and `-`, or
    /// a value not of printable ASCII; [`ArtifactError::TooLarge`] beyond [`MAX_DETERMINANTS`].
    pub fn new(inputs: &Inputs<'_>) -> Result<Self, ArtifactError> {
        let Inputs {
            translator,
            generator,
            compiler_version,
            abi_version,
            rules,
            options,
            cpu_features,
            further,
        } = *inputs;
        let mut cpu_features = cpu_features.to_vec();
        cpu_features.sort_unstable();
        cpu_features.dedup();
        let facts = [
            ("format", FORMAT.to_string()),
            ("crate", env!("CARGO_PKG_VERSION").to_owned()),
            ("target", target()),
            ("translator", translator.to_owned()),
            ("generator", generator.to_owned()),
            ("compiler-version", compiler_version.to_string()),
            ("abi-version", abi_version.to_string()),
            ("rules", rules.to_owned()),
            ("options", options.to_owned()),
            ("cpu-features", cpu_features.join(",")),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value));
        let further = further
            .iter()
            .map(|&(name, value)| (name.to_owned(), value.to_owned()));
        Self::from_facts(facts.chain(further).collect())
    }

    pub(super) fn from_facts(facts: Vec<(String, String)>) -> Result<Self, ArtifactError> {
        let (len, limit) = (facts.len() as u64, MAX_DETERMINANTS as u64);
        ArtifactError::bound("number of determinants", len, limit)?;
        let name = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let value = |b: u8| b == b' ' || b.is_ascii_graphic();
        let well_formed = facts
            .iter()
            .all(|(n, v)| !n.is_empty() && n.bytes().all(name) && v.bytes().all(value));
        if !well_formed {
            return Err(ArtifactError::Malformed {
                what: "determinants",
            });
        }
        Ok(Self { facts })
    }

    /// The facts, by name.
    pub fn facts(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.facts.iter().map(|(n, v)| (n.as_str(), v.as_str()))
    }

    /// The value of the first fact of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.facts().find_map(|(n, v)| (n == name).then_some(v))
    }

    /// What all of the list is hashed to.
    pub fn id(&self) -> BuildId {
        let mut text = String::new();
        for (name, value) in &self.facts {
            // Neither has a line break, a name has no space: one text, one list.
            text.extend([name, " ", value, "\n"]);
        }
        let mut id = [0; 16];
        id.copy_from_slice(&keccak256(text)[..16]);
        BuildId(id)
    }

    /// Checks that `found` is the same list.
    ///
    /// # Errors
    /// [`ArtifactError::Mismatch`] with the first fact that differs.
    pub fn accept(&self, found: &Self) -> Result<(), ArtifactError> {
        for ((name, value), (found_name, found_value)) in self.facts().zip(found.facts()) {
            if name != found_name {
                let field = ManifestField::Determinant(name.to_owned());
                let found = format!("absent: there stands {found_name}");
                return Err(ArtifactError::mismatch(field, value, found));
            }
            if value != found_value {
                let field = ManifestField::Determinant(name.to_owned());
                return Err(ArtifactError::mismatch(field, value, found_value));
            }
        }
        let (expected, found) = (self.facts.len(), found.facts.len());
        ArtifactError::same(ManifestField::DeterminantCount, expected, found)
    }
}

fn target() -> String {
    let libc = if cfg!(target_env = "gnu") {
        "gnu"
    } else if cfg!(target_env = "musl") {
        "musl"
    } else {
        "other"
    };
    format!("{}-{}-{libc}", std::env::consts::ARCH, std::env::consts::OS)
}

/// A hash of [`Determinants`]: everything but the bytecode that decides which artifact is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BuildId(pub(super) [u8; 16]);

impl fmt::Display for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for BuildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BuildId({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INPUTS: Inputs<'_> = Inputs {
        translator: "test",
        generator: "generator 1.2.3",
        compiler_version: 4,
        abi_version: 5,
        rules: "rules",
        options: "options",
        cpu_features: &["b", "a"],
        further: &[("more", "value")],
    };

    fn refused(wanted: &Determinants, found: &Determinants) -> ManifestField {
        match wanted.accept(found) {
            Err(ArtifactError::Mismatch { field, .. }) => field,
            other => panic!("{other:?}"),
        }
    }

    /// Every single input, changed alone, is another key and is refused by its name.
    #[test]
    fn each_input_decides() {
        let changed: [(&str, Inputs<'_>); 9] = [
            (
                "translator",
                Inputs {
                    translator: "tesu",
                    ..INPUTS
                },
            ),
            (
                "generator",
                Inputs {
                    generator: "generator 1.2.4",
                    ..INPUTS
                },
            ),
            (
                "compiler-version",
                Inputs {
                    compiler_version: 5,
                    ..INPUTS
                },
            ),
            (
                "abi-version",
                Inputs {
                    abi_version: 6,
                    ..INPUTS
                },
            ),
            (
                "rules",
                Inputs {
                    rules: "others",
                    ..INPUTS
                },
            ),
            (
                "options",
                Inputs {
                    options: "others",
                    ..INPUTS
                },
            ),
            (
                "cpu-features",
                Inputs {
                    cpu_features: &["a"],
                    ..INPUTS
                },
            ),
            (
                "cpu-features",
                Inputs {
                    cpu_features: &["a", "b", "c"],
                    ..INPUTS
                },
            ),
            (
                "more",
                Inputs {
                    further: &[("more", "else")],
                    ..INPUTS
                },
            ),
        ];
        let original = Determinants::new(&INPUTS).unwrap();
        let mut ids = vec![original.id()];
        for (name, inputs) in &changed {
            let other = Determinants::new(inputs).unwrap();
            ids.push(other.id());
            assert_eq!(
                refused(&original, &other),
                ManifestField::Determinant((*name).into())
            );
        }
        // And what the list says besides: format, crate, target.
        for at in 0..original.facts.len() {
            let mut facts = original.facts.clone();
            facts[at].1.push('x');
            let name = facts[at].0.clone();
            let other = Determinants::from_facts(facts).unwrap();
            ids.push(other.id());
            assert_eq!(refused(&original, &other), ManifestField::Determinant(name));
        }
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 1 + changed.len() + original.facts.len());
        let named: Vec<_> = original.facts().map(|(name, _)| name).collect();
        assert_eq!(named[..3], ["format", "crate", "target"]);
    }

    #[test]
    fn the_order_of_features_decides_nothing() {
        let other = Inputs {
            cpu_features: &["a", "b", "a"],
            ..INPUTS
        };
        let [one, other] = [INPUTS, other].map(|inputs| Determinants::new(&inputs).unwrap());
        assert_eq!((one.id(), &one), (other.id(), &other));
        one.accept(&other).unwrap();
        assert_eq!(one.get("cpu-features"), Some("a,b"));
    }

    /// What one fact says cannot be taken for what two say.
    #[test]
    fn facts_cannot_run_into_each_other() {
        for further in [
            &[("more", "value\nless value")][..],
            &[("mo re", "value")],
            &[("", "value")],
            &[("more", "v\u{e4}lue")],
            &[("More", "value")],
        ] {
            let inputs = Inputs { further, ..INPUTS };
            assert!(matches!(
                Determinants::new(&inputs),
                Err(ArtifactError::Malformed { .. })
            ));
        }
        let many = [("more", "value"); MAX_DETERMINANTS];
        let inputs = Inputs {
            further: &many,
            ..INPUTS
        };
        assert!(matches!(
            Determinants::new(&inputs),
            Err(ArtifactError::TooLarge { .. })
        ));
        let longer = Inputs {
            further: &[("more", "value"), ("most", "")],
            ..INPUTS
        };
        let [one, other] = [INPUTS, longer].map(|inputs| Determinants::new(&inputs).unwrap());
        assert_eq!(refused(&one, &other), ManifestField::DeterminantCount);
        assert_eq!(refused(&other, &one), ManifestField::DeterminantCount);
        assert_ne!(one.id(), other.id());
    }
}
