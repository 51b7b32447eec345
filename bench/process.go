package bench

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Usage is what a process has used since it began. Linux only: elsewhere nobody tells.
type Usage struct {
	Written int64         // bytes that it has had written to disks
	CPU     time.Duration // user and system
	Memory  int64         // resident bytes now
	Peak    int64         // the most resident bytes there have been
}

// clockTick is the unit of the times in /proc/PID/stat: USER_HZ, which is 100 on every
// architecture that Linux has.
const clockTick = 10 * time.Millisecond

// UsageOf reads what the process has used.
func UsageOf(pid int) (u Usage, err error) {
	io, err := fields(fmt.Sprintf("/proc/%d/io", pid))
	if err != nil {
		return u, err
	}
	status, err := fields(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return u, err
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u, err
	}
	_, behind, _ := strings.Cut(string(text), ") ") // the name may hold spaces
	stat := strings.Fields(behind)
	if len(stat) < 13 {
		return u, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(stat))
	}
	user, _ := strconv.ParseInt(stat[11], 10, 64)
	system, _ := strconv.ParseInt(stat[12], 10, 64)
	return Usage{Written: io["write_bytes"], CPU: time.Duration(user+system) * clockTick, Memory: status["VmRSS"] << 10, Peak: status["VmHWM"] << 10}, nil
}

// fields reads lines of a name, a colon and a number.
func fields(path string) (map[string]int64, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	all := map[string]int64{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ":")
		if words := strings.Fields(value); len(words) > 0 {
			all[name], _ = strconv.ParseInt(words[0], 10, 64) // what is no number is not asked for
		}
	}
	return all, lines.Err()
}
