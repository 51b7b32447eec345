//go:build !linux

package gateway

import (
	"context"
	"errors"
)

func watchLink(context.Context, func()) error {
	return errors.New("this system's network is not watched")
}
