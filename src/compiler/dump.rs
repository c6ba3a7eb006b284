//! A compilation for a person to read: what the passes have found, and the machine code by what it is
//! for. Asked for by [`CompileOptions::dump_dir`].

use super::{
    CompileOptions, Program,
    blocks::run_gas,
    decode::Inst,
    edges::Target,
    effect::{Class, op},
    error::CompileError,
};
use crate::files;
use std::{
    collections::HashMap,
    fmt::Write as _,
    fs,
    io::{self, Write as _},
    path::Path,
};

/// Bytes of a file, at most; what is more is cut off.
const MAX_FILE: usize = 16 << 20;

/// Bytes of machine code to the line.
const ROW: usize = 16;

/// Writes a file of a dump, in place of one that is there. Makes the folder, if there is none.
pub(crate) fn write(folder: &Path, name: &str, text: &str) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut file = files::create(&folder.join(name))?;
    let mut end = text.len().min(MAX_FILE);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    file.write_all(&text.as_bytes()[..end])?;
    if end < text.len() {
        write!(file, "\n# {} bytes more\n", text.len() - end)?;
    }
    Ok(())
}

/// The same, if there is to be a dump.
pub(crate) fn file(
    options: &CompileOptions,
    name: &str,
    text: impl FnOnce() -> String,
) -> Result<(), CompileError> {
    let Some(folder) = &options.dump_dir else {
        return Ok(());
    };
    write(folder, name, &text())
        .map_err(|error| CompileError::Dump(format!("{}: {error}", folder.join(name).display())))
}

/// An instruction as assemblers write it.
fn instruction(program: &Program<'_>, inst: &Inst) -> String {
    let name = op::name(inst.opcode);
    match inst.opcode {
        _ if inst.class == Class::Step => name,
        op::PUSH1..=op::PUSH32 => format!("{name} {:#x}", inst.pushed(program.code)),
        op::DUPN | op::SWAPN | op::EXCHANGE => format!("{name} {:#04x}", inst.immediate),
        _ => name,
    }
}

/// What the passes have found, block by block.
pub(super) fn passes(program: &Program<'_>) -> String {
    let mut out = String::new();
    let counts = [program.code.len(), program.insts.len(), program.flow.len()];
    let mut before = vec![Vec::new(); program.flow.len()];
    for (index, flow) in program.flow.iter().enumerate() {
        if program.blocks.blocks[index].live {
            for next in flow.edges.successors(index) {
                before[next].push(index.to_string());
            }
        }
    }
    // Writing to a string does not fail.
    let _ = writeln!(
        out,
        "{} bytes, {} instructions, {} blocks; rules {}\n\n\
         Heights are words above the block's start, before the instruction. A run's gas is charged at its start.",
        counts[0],
        counts[1],
        counts[2],
        program.rules.id()
    );
    for (index, before) in before.iter().enumerate() {
        let _ = block(&mut out, program, index, before);
    }
    out
}

/// Appends a block, into which static edges lead from `before`.
fn block(
    out: &mut String,
    program: &Program<'_>,
    index: usize,
    before: &[String],
) -> std::fmt::Result {
    let block = &program.blocks.blocks[index];
    let flow = &program.flow[index];
    let (edges, demand) = (flow.edges, flow.demand);
    let next = program.blocks.blocks.get(index + 1);
    let end = next.map_or(program.code.len() as u32, |next| next.pc);
    write!(out, "\nblock {index}, {:#06x}..{end:#06x}", block.pc)?;
    for (is, what) in [
        (block.jumpdest, "JUMPDEST"),
        (block.enterable, "entered from outside"),
        (edges.dynamic, "in the jump table"),
        (edges.continues, "continues another"),
        (edges.cold, "leads to failures only"),
        (!block.live, "dead"),
    ] {
        if is {
            write!(out, ", {what}")?;
        }
    }
    writeln!(
        out,
        "\n  stack   needs {}, grows by {} at most, ends at {:+}",
        block.needs, block.grows, block.delta
    )?;
    writeln!(
        out,
        "  demand  {} words, room for {}, {} bytes of memory, {} gas",
        demand.needs, demand.grows, demand.memory, demand.gas
    )?;
    if let Some(gas) = flow.compares {
        writeln!(out, "  gas     compared with {gas} at its start")?;
    }
    if flow.behind > 0 {
        writeln!(out, "  gas     {} for the way behind its end", flow.behind)?;
    }
    if edges.reaches > 0 {
        writeln!(
            out,
            "  memory  {} bytes at its end, at least",
            edges.reaches
        )?;
    }
    if !before.is_empty() {
        writeln!(out, "  from    {}", before.join(", "))?;
    }
    if let Target::Block(to) = edges.target {
        writeln!(out, "  jumps   to {to}")?;
    }
    if edges.falls {
        writeln!(out, "  falls   into {}", index + 1)?;
    }
    let mut height = 0i32;
    let mut begins = true;
    for at in block.first..block.end {
        let inst = &program.insts[at as usize];
        if begins {
            let gas = run_gas(program.insts, at, block.end, program.rules);
            writeln!(out, "  run, {gas} gas")?;
        }
        begins = inst.class == Class::Boundary;
        let kind = match inst.class {
            Class::Native => "native",
            Class::Boundary => "boundary",
            Class::Step => "interpreted",
            Class::End => "interpreted, ends",
        };
        let text = instruction(program, inst);
        let gas = program.rules.gas_of(inst.opcode);
        let address = if program.sums[at as usize] {
            ", an address"
        } else {
            ""
        };
        writeln!(
            out,
            "    {:#06x}  {height:+4}  {gas:5} gas  {text}  ; {kind}{address}",
            inst.pc
        )?;
        height += i32::from(inst.outputs) - i32::from(inst.inputs);
    }
    Ok(())
}

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

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use crate::{
        artifact::{DirOptions, TempArtifactStore},
        chain::Chain,
        compiler::{
            Tier, compile,
            effect::{class, effect},
        },
        trial::tests::{asm::asm, contract, countdown},
    };
    use revm_interpreter::primitives::hardfork::SpecId;
    use std::process::Command;

    fn dumped(bytecode: &[u8], options: &CompileOptions, folder: &Path) -> Vec<u8> {
        let rules = Chain::mainnet().rules(SpecId::OSAKA).clone();
        let plain = compile(bytecode, &rules, options).unwrap();
        let options = CompileOptions {
            dump_dir: Some(folder.to_owned()),
            ..options.clone()
        };
        let dumped = compile(bytecode, &rules, &options).unwrap();
        // Who looks changes nothing.
        assert_eq!(plain.text(), dumped.text());
        assert_eq!(plain.entries(), dumped.entries());
        plain.text().to_vec()
    }

    fn read(folder: &Path, name: &str) -> String {
        fs::read_to_string(folder.join(name)).unwrap()
    }

    #[test]
    fn passes_are_listed_with_all_that_was_found() {
        let dir = TempArtifactStore::new(DirOptions::default()).unwrap();
        let code = asm("0 CALLDATALOAD DUP1 @on JUMPI POP STOP on: SLOAD 0 MSTORE 32 0 RETURN");
        dumped(&code, &CompileOptions::default(), dir.path());
        let text = read(dir.path(), "passes.txt");
        let lines: Vec<&str> = text.lines().collect();
        for line in [
            "block 2, 0x000a..0x0014, JUMPDEST, continues another",
            "  stack   needs 0, grows by 3 at most, ends at +1",
            "  demand  1 words, room for 1, 0 bytes of memory, 101 gas",
            "  falls   into 1",
            "  jumps   to 2",
            "  from    0",
            "  run, 12 gas",
            "    0x0000    +0      3 gas  PUSH1 0x0  ; native",
            "    0x000a    +0      1 gas  JUMPDEST  ; native",
            "    0x000b    +0    100 gas  SLOAD  ; boundary",
            "    0x0013    +1      0 gas  RETURN  ; interpreted, ends",
        ] {
            assert!(lines.contains(&line), "{line} is not in\n{text}");
        }
        assert_eq!(
            read(dir.path(), "bytecode.hex").trim(),
            alloy_primitives::hex::encode(&code)
        );
    }

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
        if !crate::compiler::x64::supported() {
            return;
        }
        for (code, tier, needed) in [
            (contract(), Tier::Baseline, "jump_table"),
            (contract(), Tier::Optimized, "constants"),
            (countdown(), Tier::Optimized, "loops"),
            (everything().into(), Tier::Baseline, "rare_shared"),
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

    #[test]
    fn a_file_has_an_end() {
        let dir = TempArtifactStore::new(DirOptions::default()).unwrap();
        // Two bytes each: the end is within one.
        let text = format!("a{}", "é".repeat(MAX_FILE / 2));
        write(dir.path(), "long", &text).unwrap();
        let written = read(dir.path(), "long");
        assert!(written.starts_with(&text[..MAX_FILE - 1]));
        assert!(written.ends_with("\n# 2 bytes more\n"));
        assert!(written.len() < MAX_FILE + 32);
    }

    #[test]
    fn what_cannot_be_written_is_an_error() {
        let dir = TempArtifactStore::new(DirOptions::default()).unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let options = CompileOptions {
            dump_dir: Some(file),
            ..CompileOptions::default()
        };
        let rules = Chain::mainnet().rules(SpecId::OSAKA).clone();
        let error = compile(&[0], &rules, &options).unwrap_err();
        assert!(matches!(error, CompileError::Dump(_)), "{error}");
    }
}
