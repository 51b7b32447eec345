// Package devicekeys knows who a device is, how it proves that, and which API
// key its register has. It promises that a device acts only as itself, that a
// register key can be used but never read back, and that devices go on logging
// in, and so selling, when the key-encryption key (KEK) is lost or wrong: only
// sending stops then. Rows are kept by whoever implements Rows; what OpenFiskal
// thinks of a key is the caller's business.
//
// The KEK protects backups, images and stolen database files. It does not
// protect a stolen box on which it lies too: the answer to that is new register
// keys from the back office (FAULTS.md 4.2).
package devicekeys

import (
	"context"
	"errors"

	"edgegw/sale"
	"edgegw/wording"
)

// Rows is where devices and sealed keys are kept. Every change is durable, with
// its line in the audit trail in the same transaction, before the call returns;
// by is the person or program that asked for it.
type Rows interface {
	Devices(ctx context.Context) ([]sale.Device, error)
	AddDevice(ctx context.Context, d sale.Device, by string) error
	// AddDeviceWithKey adds both or none.
	AddDeviceWithKey(ctx context.Context, d sale.Device, k sale.SealedKey, by string) error
	UpdateDevice(ctx context.Context, d sale.Device, what, by string) error
	// RemoveDevice revokes its certificates as well.
	RemoveDevice(ctx context.Context, id sale.DeviceID, by string) error
	// ReplaceDevice is UpdateDevice, and revokes all certificates of the device in
	// the same transaction.
	ReplaceDevice(ctx context.Context, d sale.Device, by string) error

	// Certificates lists all, also the revoked.
	Certificates(ctx context.Context) ([]sale.Certificate, error)
	AddCertificate(ctx context.Context, c sale.Certificate, by string) error
	// RevokeCertificates ends one, or with an empty serial all; sale.ErrNone if
	// there was none to end.
	RevokeCertificates(ctx context.Context, id sale.DeviceID, serial, by string) error

	// Keys lists all, also the retired: no number comes twice.
	Keys(ctx context.Context) ([]sale.SealedKey, error)
	// PutKey inserts a version; where its state is active it retires the older
	// versions of that register in the same transaction.
	PutKey(ctx context.Context, k sale.SealedKey, by string) error
	SetKeyState(ctx context.Context, r sale.RegisterID, version int64, s sale.KeyState, by string) error
	// DropKey forgets a version that was never in use.
	DropKey(ctx context.Context, r sale.RegisterID, version int64, by string) error
	// ForgetKeys retires every version.
	ForgetKeys(ctx context.Context, r sale.RegisterID, by string) error
}

// Resealer replaces the blobs of keys that are there, all or none, in one
// transaction: the change of the KEK (CONTRACT.md section 4).
type Resealer interface {
	ReplaceKeys(ctx context.Context, keys []sale.SealedKey, by string) error
}

// Errors that callers test for. What a device or a key is not there for wraps
// sale.ErrNone.
var (
	ErrRefused    = errors.New("login refused")
	ErrExists     = errors.New("there is one already")
	ErrChanged    = errors.New("it is not as it was")
	ErrNoKEK      = wording.Err(nil, "there is no key-encryption key")
	ErrKEKMissing = wording.Err(nil, "the key-encryption key is missing")
	ErrWrongKEK   = wording.Err(nil, "sealed with another key-encryption key")
	ErrSealBroken = wording.Err(nil, "the sealed register key is damaged or belongs to another register")
)
