package gateway

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// ourMark begins the content of an update lock that a gateway has made.
const ourMark = "edgegw "

// holdUpdates keeps balena's supervisor from replacing the container while the database
// is opened, which may bring it to a newer schema: seconds, and as long as the start
// takes. It is a file that must not be there yet, in a folder that the supervisor has
// mounted (path; "" where there is none). Attempts under way do not hold it: on a site
// that drains a backlog there is always one, and an update could never begin; one that is
// cut off is in doubt, and looked up.
//
// Whoever calls it has the data directory, so a lock of ours that is there was left by a
// process that died, and is taken over. Somebody else's stays, and hinders nothing here.
func (k *control) holdUpdates() (release func()) {
	path := k.options.UpdateLock
	if path == "" {
		return func() {}
	}
	made, err := makeLock(path)
	if errors.Is(err, fs.ErrExist) && isOurs(path) {
		k.log.Info("an update lock that an earlier run has left is taken over", "path", path)
		if err = os.Remove(path); err == nil {
			made, err = makeLock(path)
		}
	}
	switch {
	case errors.Is(err, fs.ErrExist):
		k.log.Info("somebody else holds the update lock", "path", path)
	case err != nil && !errors.Is(err, fs.ErrNotExist): // without the folder there is no supervisor
		k.log.Warn("the update lock cannot be taken: an update may come in the middle of the start", "cause", err)
	}
	return func() {
		if !made {
			return
		}
		if err := os.Remove(path); err != nil {
			k.log.Warn("the update lock cannot be given back: no update comes until the next start", "path", path, "cause", err)
		}
	}
}

func makeLock(path string) (made bool, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return false, fmt.Errorf("take %s: %w", filepath.Base(path), err)
	}
	_, err = fmt.Fprintf(f, "%s%d\n", ourMark, os.Getpid())
	return true, errors.Join(err, f.Close())
}

func isOurs(path string) bool {
	text, err := os.ReadFile(path)
	return err == nil && strings.HasPrefix(string(text), ourMark)
}
