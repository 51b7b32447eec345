package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"edgegw/config"
)

// harden keeps register keys, which stand in memory in clear while they are
// used, out of core dumps and away from debuggers of other processes. A new
// image starts without the second of the two, so it comes after startAnew.
func harden() error {
	var errs []error
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		errs = append(errs, fmt.Errorf("set RLIMIT_CORE: %w", err))
	}
	if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
		errs = append(errs, fmt.Errorf("set PR_SET_DUMPABLE: %w", err))
	}
	return errors.Join(errs...)
}

// Settings of Go's runtime, which reads them once, before main; no build flag sets
// them.
//
// One overwrites what the garbage collector frees. Without it a register key stands
// in memory until chance puts something else there, and copies of it are made where
// we cannot wipe them: in net/http's headers and buffers, in JSON, in strings.
//
// The other keeps the runtime from interrupting goroutines by signals. With a signal
// the kernel stores the vector registers on the stack of the handler, and in those
// stands what was copied or encrypted last, such as half a key. The stack is never
// freed; a thread that is at rest afterwards keeps it for days. Goroutines still
// give way where they call functions.
const (
	runtimeSettings  = "GODEBUG"
	overwritesFreed  = "clobberfree"
	settingsAnew     = overwritesFreed + "=1,asyncpreemptoff=1"
	imageOfThisStart = "/proc/self/exe"
)

// anew reports whether this is the second image of startAnew, or somebody has chosen
// its setting himself: the command line need not be read to know what to do.
func anew() bool { return strings.Contains(os.Getenv(runtimeSettings), overwritesFreed+"=") }

// startAnew starts the program once more in the same process, with a runtime
// that keeps nothing of what has passed. It returns nil in the second image, and where
// somebody has chosen the setting himself; an error where it cannot be, and the
// gateway goes on without. It comes before everything else, above all before
// signals are caught: one that came in between would be lost.
func startAnew() error {
	settings := os.Getenv(runtimeSettings)
	if anew() {
		// The system calls a process by the file it was started from, which was
		// "exe": its name is for those who look for it with ps or pidof.
		_ = os.WriteFile("/proc/self/comm", []byte(filepath.Base(os.Args[0])), 0)
		return nil
	}
	if settings != "" {
		settings += ","
	}
	env := []string{runtimeSettings + "=" + settings + settingsAnew}
	for _, e := range os.Environ() {
		if !strings.HasPrefix(e, runtimeSettings+"=") {
			env = append(env, e)
		}
	}
	return fmt.Errorf("start anew with %s=%s: %w", runtimeSettings, settingsAnew, syscall.Exec(imageOfThisStart, os.Args, env))
}

// forgetSecrets takes the secrets out of the environment, once they have been
// read: out of the block that the kernel laid out, which /proc/PID/environ shows
// and a core contains, and out of the strings that Go's runtime made from it and
// never lets go. Nobody may use a string that was cut from one of those after
// this; what config makes of them are copies. It comes before harden, which
// closes /proc/self to everybody but root.
func forgetSecrets() error {
	var names []string
	for _, k := range config.Describe() {
		if k.Secret {
			names = append(names, k.Env+"=")
		}
	}
	secretOf := func(entry string) (value string) {
		for _, name := range names {
			if v, ok := strings.CutPrefix(entry, name); ok {
				value = v
			}
		}
		return value
	}
	err := wipeBlock(secretOf)
	for _, e := range os.Environ() {
		if v := secretOf(e); v != "" {
			clear(unsafe.Slice(unsafe.StringData(v), len(v)))
		}
	}
	for _, name := range names {
		_ = os.Unsetenv(strings.TrimSuffix(name, "=")) // no name of ours is impossible
	}
	return err
}

// wipeBlock overwrites secrets where the kernel laid out the environment.
func wipeBlock(secretOf func(entry string) (value string)) error {
	from, to, err := environmentBlock()
	if err != nil {
		return fmt.Errorf("find the environment in memory: %w", err)
	}
	memory, err := os.OpenFile("/proc/self/mem", os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("open the memory of the process: %w", err)
	}
	defer memory.Close()
	block := make([]byte, to-from)
	defer clear(block)
	if _, err := memory.ReadAt(block, from); err != nil {
		return fmt.Errorf("read the environment in memory: %w", err)
	}
	for at := 0; at < len(block); {
		entry, _, _ := bytes.Cut(block[at:], []byte{0})
		if n := len(secretOf(string(entry))); n > 0 {
			if _, err := memory.WriteAt(make([]byte, n), from+int64(at+len(entry)-n)); err != nil {
				return fmt.Errorf("overwrite a secret in the environment: %w", err)
			}
		}
		at += len(entry) + 1
	}
	return nil
}

// environmentBlock says where the environment stands (proc_pid_stat(5)).
func environmentBlock() (from, to int64, err error) {
	stat, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		return 0, 0, err
	}
	const start, end = 50, 51 // env_start and env_end
	f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	const first = 3 // the field behind the name
	if len(f) <= end-first {
		return 0, 0, errors.New("/proc/self/stat is too short")
	}
	from, errFrom := strconv.ParseInt(f[start-first], 10, 64)
	to, errTo := strconv.ParseInt(f[end-first], 10, 64)
	if err := errors.Join(errFrom, errTo); err != nil {
		return 0, 0, err
	}
	if from == 0 || to < from {
		return 0, 0, errors.New("/proc/self/stat does not say where")
	}
	return from, to, nil
}
