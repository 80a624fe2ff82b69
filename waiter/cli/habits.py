"""What people type who come from GNU parallel, xargs and Slurm, and what it is called here. Only a mistake needs it."""

from __future__ import annotations

_ROWS = "-n 3 gives three rows to one command"
_BAR = "leave it out: a terminal shows a bar; elsewhere: waiter watch"
_HOSTS = "for other hosts: waiter fleet start --hosts a,b"
_AGAIN = "leave it out: the same line again goes on where it was"
_BRACES = "leave it out: {} stands for the arguments anyway"
_STDIN = "rows are arguments here; --stdin json gives them to the command's stdin as well"

CALLED_HERE = {
    "--results": "--output FOLDER keeps what each order writes",
    **dict.fromkeys(("-a", "--arg-file"), "--input FILE"),
    **dict.fromkeys(("-C", "--colsep"), "--input FILE.csv --delimiter ';', with --header also {name}"),
    **dict.fromkeys(("-I", "-i", "--replace"), _BRACES),
    **dict.fromkeys(("-L", "-l", "-N", "-X", "-m", "-s", "--max-lines", "--max-args", "--max-replace-args"), _ROWS),
    "--max-procs": "-j 4, or -P 4",
    **dict.fromkeys(("--eta", "--bar", "--progress"), _BAR),
    **dict.fromkeys(("-t", "--verbose"), "--dry-run prints the command lines"),
    "--delay": "there is none; --max-load 4 starts nothing while the machine is busy",
    **dict.fromkeys(("-S", "--sshlogin", "--sshloginfile", "--slf"), _HOSTS),
    "--memfree": "--min-memory 2G",
    "--load": "--max-load 4",
    **dict.fromkeys(("--resume", "--resume-failed", "--retry-failed"), _AGAIN),
    **dict.fromkeys(("-u", "--ungroup"), "--grouping none"),
    "--linebuffer": "--line-buffer",
    **dict.fromkeys(("--pipe", "--pipepart", "--block"), _STDIN),
    **dict.fromkeys(("-r", "--no-run-if-empty"), "leave it out: without rows nothing runs"),
    **dict.fromkeys(("-q", "--quote"), "leave it out: an argument is one word, whatever it holds"),
    **dict.fromkeys(("--will-cite", "--citation"), "leave it out"),
    **dict.fromkeys(("--wd", "--workdir", "--chdir"), "--cwd FOLDER"),
    "--array": "each row is an order: seq 1000 | waiter run -j8 ./job.sh",
    "--time": "--timeout 10m for an order, --max-time 5h for the waiter",
    "--cpus-per-task": "--needs cpus=4",
    **dict.fromkeys(("--mem", "--mem-per-cpu"), "--needs mem=4G"),
    **dict.fromkeys(("--gres", "--gpus"), "--needs gpu=1"),
}
"""Options of theirs before the command, and the hint."""
