package main

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// harden keeps register keys, which stand in memory in clear while they are
// used, out of core dumps and away from debuggers of other processes.
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
