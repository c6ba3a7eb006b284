//! The text by what it is for, for a person and for an assembler.

use crate::compiler::{decode::Inst, effect::op};
use std::{collections::HashMap, fmt::Write};

/// Bytes to the line where they are not read.
const ROW: usize = 16;

/// What stands behind a label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Code,
    Data,
    /// Code that has a listing of its own.
    Other,
}

/// What the text from an offset on is for.
pub(super) struct Label {
    at: usize,
    content: Content,
    name: String,
}

impl Label {
    pub(super) fn new(at: usize, content: Content, name: impl Into<String>) -> Self {
        let name = name.into();
        Self { at, content, name }
    }

    /// Its offset.
    pub(super) fn at(&self) -> usize {
        self.at
    }
}

/// An instruction that was read.
pub(super) struct Decoded {
    /// Bytes that it has.
    pub(super) len: usize,
    pub(super) text: String,
    /// The offset that it jumps to.
    pub(super) target: Option<usize>,
}

/// A name for the code of an instruction.
pub(super) fn instruction_label(prefix: &str, inst: &Inst) -> String {
    format!("{prefix}_{:#06x}_{}", inst.pc, op::name(inst.opcode))
}

/// Machine code with labels, sorted by offset, as an assembler takes it; `decode` reads the instruction at an
/// offset. The first label is at 0.
pub(super) fn assembly(
    text: &[u8],
    labels: &[Label],
    decode: impl Fn(&[u8], usize) -> Option<Decoded>,
) -> String {
    let mut out = String::from(
        "# block_N_PC_OPCODE: a block and its first instruction; at_PC_OPCODE: another one;\n\
         # rare_PC_OPCODE: leaves of one, and what is rare of it.\n\
         # With addresses: as code.s -o code.o && objdump -d -M intel code.o\n\
         \t.text\n",
    );
    let mut count: HashMap<&str, usize> = HashMap::new();
    let names: Vec<String> = labels
        .iter()
        .map(|label| {
            let count = count.entry(&label.name).or_default();
            *count += 1;
            match count {
                1 => label.name.clone(),
                _ => format!("{}.{count}", label.name),
            }
        })
        .collect();
    let name_at = |at: usize| {
        let index = labels.partition_point(|label| label.at < at);
        labels.get(index).filter(|label| label.at == at)?;
        names.get(index)
    };
    for (index, (label, name)) in labels.iter().zip(&names).enumerate() {
        let end = labels.get(index + 1).map_or(text.len(), |next| next.at);
        // Writing to a string does not fail.
        let _ = if label.content == Content::Data {
            writeln!(out, "\t.type {name}, @object\n{name}:")
        } else {
            writeln!(out, "{name}:")
        };
        let mut at = label.at;
        while at < end {
            let decoded = (label.content == Content::Code).then(|| decode(text, at));
            match decoded.flatten().filter(|decoded| decoded.len <= end - at) {
                Some(Decoded {
                    len,
                    text: instruction,
                    target,
                }) => {
                    let to = target.and_then(&name_at);
                    let to = to.map(|name| format!(" <{name}>")).unwrap_or_default();
                    let bytes = list(&text[at..at + len]);
                    let _ = writeln!(out, "\t.byte {bytes}\t# {instruction}{to}");
                    at += len;
                }
                None => {
                    let len = ROW.min(end - at);
                    let _ = writeln!(out, "\t.byte {}", list(&text[at..at + len]));
                    at += len;
                }
            }
        }
    }
    out
}

fn list(bytes: &[u8]) -> String {
    let bytes: Vec<String> = bytes.iter().map(|byte| format!("{byte:#04x}")).collect();
    bytes.join(",")
}

#[cfg(test)]
mod tests {
    use crate::{
        artifact::{DirOptions, TempArtifactStore},
        chain::Chain,
        common::asm::asm,
        compiler::{
            CompileOptions, Tier,
            dump::tests::{dumped, read},
            effect::{Class, class, effect, op},
        },
        trial::tests::{contract, countdown},
    };
    use revm_interpreter::primitives::hardfork::SpecId;
    use std::{path::Path, process::Command};

    /// The bytes of a listing, and its labels.
    fn parse(text: &str) -> (Vec<u8>, Vec<&str>) {
        let (mut bytes, mut labels) = (Vec::new(), Vec::new());
        for line in text.lines() {
            if let Some(row) = line.strip_prefix("\t.byte ") {
                let row = row.split('\t').next().unwrap().split(',');
                let row = row.map(|byte| byte.trim_start_matches("0x"));
                bytes.extend(row.map(|byte| u8::from_str_radix(byte, 16).unwrap()));
            } else if let Some(label) = line.strip_suffix(':') {
                labels.push(label);
            }
        }
        (bytes, labels)
    }

    #[test]
    fn the_listing_is_the_machine_code_and_names_each_instruction() {
        if !super::super::supported() {
            return;
        }
        for (code, tier, needed) in [
            (jump().into(), Tier::Baseline, "jump_table"),
            (contract(), Tier::Baseline, "constants"),
            (contract(), Tier::Optimized, "constants"),
            (countdown(), Tier::Optimized, "loops"),
            (everything().into(), Tier::Baseline, "at_shared"),
        ] {
            let dir = TempArtifactStore::new(DirOptions::default()).unwrap();
            let options = CompileOptions {
                tier,
                ..CompileOptions::default()
            };
            let text = dumped(&code, &options, dir.path());
            let listing = read(dir.path(), "code.s");
            let (bytes, labels) = parse(&listing);
            assert_eq!(bytes, text);
            let mut unique = labels.clone();
            unique.sort_unstable();
            unique.dedup();
            assert_eq!(unique.len(), labels.len());
            assert!(labels.contains(&"entry"));
            assert!(
                labels
                    .iter()
                    .any(|label| label.starts_with("block_0_0x0000_"))
            );
            assert!(
                labels.contains(&needed),
                "{needed} is not in\n{}",
                labels.join("\n")
            );
            // All of it can be read but data, and what Cranelift has made.
            let code = listing.split("\nconstants:").next().unwrap();
            let code = code.split("\njump_table:").next().unwrap();
            let code = code.split("\nloops:").next().unwrap();
            let unread = |line: &&str| line.starts_with("\t.byte") && !line.contains('#');
            assert_eq!(code.lines().find(unread), None);
            let by_cranelift = dir.path().join("function.asm").exists();
            assert_eq!(by_cranelift, labels.contains(&"loops"));
            disassemble(dir.path(), &listing);
        }
    }

    /// A jump to where the call says.
    fn jump() -> Vec<u8> {
        vec![
            op::PUSH0,
            op::CALLDATALOAD,
            op::JUMP,
            op::JUMPDEST,
            op::STOP,
        ]
    }

    /// A program with every instruction that machine code does, and both ways of each jump.
    fn everything() -> Vec<u8> {
        let rules = Chain::mainnet().rules(SpecId::AMSTERDAM).clone();
        let mut code = Vec::new();
        for opcode in 0..=255 {
            let Some(effect) = effect(opcode).filter(|_| class(opcode, &rules) == Class::Native)
            else {
                continue;
            };
            if matches!(opcode, op::JUMP | op::JUMPI) {
                continue;
            }
            for n in 0..effect.inputs {
                code.extend([op::PUSH1, 8 * n as u8, op::CALLDATALOAD]);
            }
            code.push(opcode);
            code.extend(vec![0xa5; effect.len as usize - 1]);
            for _ in 0..effect.outputs {
                code.extend([op::PUSH1, 0, op::CALLDATALOAD, op::SSTORE]);
            }
        }
        code.extend(asm("0 CALLDATALOAD JUMP on: 0 CALLDATALOAD 1 JUMPI"));
        code
    }

    /// What our disassembler says is what the system's says, where there is one.
    fn disassemble(folder: &Path, listing: &str) {
        let run = |program: &str, arguments: &[&str]| {
            let mut command = Command::new(program);
            let output = command.args(arguments).current_dir(folder).output().ok()?;
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{program}: {errors}");
            Some(String::from_utf8_lossy(&output.stdout).into_owned())
        };
        if run("as", &["code.s", "-o", "code.o"]).is_none() {
            return;
        }
        let arguments = ["-d", "-M", "intel", "--no-show-raw-insn", "code.o"];
        let Some(text) = run("objdump", &arguments) else {
            return;
        };
        let plain = |text: &str| {
            let text = text.split(" <").next().unwrap().split('#').next().unwrap();
            let words: Vec<&str> = text.split_whitespace().collect();
            let text = words.join(" ");
            match text.split_once(' ') {
                // A jump's target.
                Some((jump, to)) if jump.starts_with('j') && !to.contains('[') => {
                    format!("{jump} {}", to.trim_start_matches("0x"))
                }
                _ => text,
            }
        };
        let ours: Vec<String> = listing
            .lines()
            .filter(|line| line.starts_with("\t.byte"))
            .filter_map(|line| Some(plain(line.split_once("\t# ")?.1)))
            .collect();
        let theirs = text.lines().filter_map(|line| line.split_once(":\t"));
        let theirs: Vec<String> = theirs.map(|(_, text)| plain(text)).collect();
        assert!(ours.len() > 20 && theirs.len() >= ours.len());
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert_eq!(ours, theirs);
        }
    }
}
