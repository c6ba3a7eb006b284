//! A compilation for a person to read: files, and what the passes have found. Asked for by [`CompileOptions::dump_dir`].

use super::{
    CompileOptions, Program,
    blocks::run_gas,
    decode::Inst,
    effect::{Class, op},
    error::CompileError,
};
use crate::files;
use std::{
    fmt::Write as _,
    fs,
    io::{self, Write as _},
    path::Path,
};

/// Bytes of a file, at most; what is more is cut off.
const MAX_FILE: usize = 16 << 20;

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
            for next in flow.edges.successors() {
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
    let next = program.blocks.blocks.get(block.next as usize);
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
    if let Some(to) = edges.target {
        writeln!(out, "  jumps   to {to}")?;
    }
    if let Some(next) = edges.falls {
        writeln!(out, "  falls   into {next}")?;
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

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{
        artifact::{DirOptions, TempArtifactStore},
        chain::Chain,
        common::asm::asm,
        compiler::compile,
    };
    use revm_interpreter::primitives::hardfork::SpecId;

    /// The machine code, and what is dumped beside it.
    pub(in crate::compiler) fn dumped(
        bytecode: &[u8],
        options: &CompileOptions,
        folder: &Path,
    ) -> Vec<u8> {
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

    pub(in crate::compiler) fn read(folder: &Path, name: &str) -> String {
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
