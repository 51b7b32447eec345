package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"time"

	"edgegw/sale"
)

// ErrNotRunning says that no gateway listens on the socket.
var ErrNotRunning = errors.New("no gateway runs on this data directory")

// SocketName is the gateway's socket in its data directory (CONTRACT.md section 5).
const SocketName = "edgegw.sock"

// longestSocket is the most bytes that the path of a socket may have on Linux,
// where sun_path holds 108 with its end.
const longestSocket = 107

// Client is the Backend of a gateway that runs, reached over its socket.
type Client struct{ http *http.Client }

var _ Backend = (*Client)(nil)

// Dial connects to the gateway's socket. The error is ErrNotRunning where
// nobody listens there.
func Dial(socketPath string) (*Client, error) {
	if len(socketPath) > longestSocket {
		return nil, fmt.Errorf("connect to %s: the path is longer than %d bytes; choose a shorter data_dir", socketPath, longestSocket)
	}
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	first, err := dialer.Dial("unix", socketPath)
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOTDIR):
		return nil, ErrNotRunning
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("connect to %s: permission denied; run this command as the user of the gateway, or as root", socketPath)
	case err != nil:
		return nil, fmt.Errorf("connect to the gateway: %w", err)
	}
	_ = first.Close() // only asked whether somebody is there
	return &Client{http: &http.Client{
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return dialer.DialContext(ctx, "unix", socketPath)
			},
			// A key takes one round trip to OpenFiskal to be checked: the caller's context decides how long.
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// LocalUser names the unix user of this process for the audit trail: "cli:root".
func LocalUser() string {
	if u, err := user.Current(); err == nil && u.Username != "" {
		return "cli:" + u.Username
	}
	return "cli:uid " + strconv.Itoa(os.Getuid())
}

// Healthy gives nil where the gateway says that it does its job: a message has gone
// the whole way of a device's, to its acknowledgement, within the last minute.
func (c *Client) Healthy(ctx context.Context) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://edgegw"+HealthPath, nil)
	if err != nil {
		return err
	}
	answer, err := c.http.Do(r)
	if err != nil {
		return fmt.Errorf("ask the gateway: %w", err)
	}
	defer answer.Body.Close()
	said, err := io.ReadAll(io.LimitReader(answer.Body, 1<<10))
	if err != nil {
		return fmt.Errorf("ask the gateway: %w", err)
	}
	if answer.StatusCode != http.StatusOK {
		return errors.New(strings.TrimSpace(string(said)))
	}
	return nil
}

// Status asks for the site in one look.
func (c *Client) Status(ctx context.Context) (s Status, err error) {
	return s, c.do(ctx, http.MethodGet, "/status", nil, "", &s)
}

// Devices lists all devices.
func (c *Client) Devices(ctx context.Context) (d []Device, err error) {
	return d, c.do(ctx, http.MethodGet, "/devices", nil, "", &d)
}

// Device shows one.
func (c *Client) Device(ctx context.Context, id sale.DeviceID) (d Device, err error) {
	return d, c.do(ctx, http.MethodGet, "/devices/"+url.PathEscape(string(id)), nil, "", &d)
}

// AddDevice adds one; its credentials are in no later answer.
func (c *Client) AddDevice(ctx context.Context, a AddDevice, by string) (out Credentials, err error) {
	return out, c.do(ctx, http.MethodPost, "/devices", addBody{a, string(a.Key.Reveal())}, by, &out)
}

// RemoveDevice removes one.
func (c *Client) RemoveDevice(ctx context.Context, id sale.DeviceID, by string) error {
	return c.do(ctx, http.MethodDelete, "/devices/"+url.PathEscape(string(id)), nil, by, nil)
}

// SetKey gives a register a new key.
func (c *Client) SetKey(ctx context.Context, k SetKey, by string) (out KeyResult, err error) {
	path := "/devices/" + url.PathEscape(string(k.DeviceID)) + "/key"
	if k.DeviceID == "" {
		if !ValidRegister(k.RegisterID) { // a key that was given as one must not get into an address
			return out, noRegister()
		}
		path = "/registers/" + url.PathEscape(string(k.RegisterID)) + "/key"
	}
	return out, c.do(ctx, http.MethodPut, path, keyBody{string(k.Key.Reveal()), k.Unverified}, by, &out)
}

// Explain says how something is.
func (c *Client) Explain(ctx context.Context, subject string) (out Explanation, err error) {
	path := "/explain"
	if subject != "" {
		path += "?" + url.Values{"subject": {subject}}.Encode()
	}
	return out, c.do(ctx, http.MethodGet, path, nil, "", &out)
}

// Acknowledge says that a person knows what became of the database.
func (c *Client) Acknowledge(ctx context.Context, by string) (int, error) {
	var out acknowledged
	err := c.do(ctx, http.MethodPost, "/data/acknowledge", nil, by, &out)
	return out.Acknowledged, err
}

// ForgetGaps takes a device's gaps off.
func (c *Client) ForgetGaps(ctx context.Context, id sale.DeviceID, by string) error {
	return c.do(ctx, http.MethodDelete, "/devices/"+url.PathEscape(string(id))+"/gaps", nil, by, nil)
}

// ForgetCards takes off that a device sent card data.
func (c *Client) ForgetCards(ctx context.Context, id sale.DeviceID, by string) error {
	return c.do(ctx, http.MethodDelete, devicePath(id, "cards"), nil, by, nil)
}

// Quarantine lists what is or was in quarantine, the newest first.
func (c *Client) Quarantine(ctx context.Context, f QuarantineFilter) (out []QuarantineItem, err error) {
	q := url.Values{}
	for name, value := range map[string]string{"state": f.State, "device_id": string(f.DeviceID), "sale_id": f.SaleID} {
		if value != "" {
			q.Set(name, value)
		}
	}
	if f.Limit != 0 {
		q.Set("limit", strconv.Itoa(f.Limit))
	}
	return out, c.do(ctx, http.MethodGet, "/quarantine?"+q.Encode(), nil, "", &out)
}

// QuarantineItem shows one item with all that belongs to it.
func (c *Client) QuarantineItem(ctx context.Context, id string) (out QuarantineItem, err error) {
	path, f := itemPath(id)
	if f != nil {
		return out, f
	}
	return out, c.do(ctx, http.MethodGet, path, nil, "", &out)
}

// Decide carries out a person's decision.
func (c *Client) Decide(ctx context.Context, d Decision, by string) (out DecisionResult, err error) {
	path, f := itemPath(d.ID)
	if f != nil {
		return out, f
	}
	return out, c.do(ctx, http.MethodPost, path+"/"+string(d.Decision), decisionBody{d.Reason, d.Operation}, by, &out)
}

// itemPath keeps out of an address what must not stand there: a key that was
// given as an id, and what a path takes for a step up.
func itemPath(id string) (string, *Refusal) {
	if !itemID(id) {
		return "", noItem()
	}
	return "/quarantine/" + url.PathEscape(id), nil
}

// Close lets the connection go.
func (c *Client) Close() error {
	c.http.CloseIdleConnections()
	return nil
}

// do makes one request. An empty by is the unix user of this process.
func (c *Client) do(ctx context.Context, method, path string, body any, by string, into any) error {
	_, err := c.fetch(ctx, method, path, body, by, into)
	return err
}

// fetch is do with the header of the answer.
func (c *Client) fetch(ctx context.Context, method, path string, body any, by string, into any) (http.Header, error) {
	answer, err := c.ask(ctx, method, path, body, by)
	if err != nil {
		return nil, err
	}
	defer func() { _ = answer.Body.Close() }()
	if answer.StatusCode >= 300 {
		return nil, refusedBy(answer)
	}
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return nil, fmt.Errorf("read the gateway's answer: %w", err)
	}
	if into == nil {
		return answer.Header, nil
	}
	if err := json.Unmarshal(text, into); err != nil {
		return nil, fmt.Errorf("read the gateway's answer: %w", err)
	}
	return answer.Header, nil
}

// ask sends a request in the name of a person; body is JSON, or a file.
func (c *Client) ask(ctx context.Context, method, path string, body any, by string) (*http.Response, error) {
	var payload io.Reader
	media := ""
	switch b := body.(type) {
	case nil:
	case file:
		payload, media = bytes.NewReader(b), "application/octet-stream"
	default:
		text, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("write the request: %w", err)
		}
		payload, media = bytes.NewReader(text), "application/json"
	}
	r, err := http.NewRequestWithContext(ctx, method, "http://edgegw"+Prefix+path, payload)
	if err != nil {
		return nil, fmt.Errorf("ask the gateway: %w", err)
	}
	if media != "" {
		r.Header.Set("Content-Type", media)
	}
	if by == "" {
		by = LocalUser()
	}
	r.Header.Set(HeaderBy, ascii(by))
	answer, err := c.http.Do(r)
	if err != nil {
		return nil, fmt.Errorf("ask the gateway: %w", plain(err))
	}
	return answer, nil
}

// file is a body that is no JSON.
type file []byte

func refusedBy(answer *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxBody))
	if err != nil {
		return fmt.Errorf("read the gateway's answer: %w", err)
	}
	return refused(answer.StatusCode, text)
}

// refused turns an error answer back into what the backend said.
func refused(status int, text []byte) error {
	f := &Refusal{}
	if err := json.Unmarshal(text, f); err != nil || f.Code == "" {
		return fmt.Errorf("ask the gateway: it answered %d without saying why", status)
	}
	if f.Code == "internal" {
		return fmt.Errorf("the gateway says: %s", f.Message)
	}
	return f
}

// plain leaves out the made-up address that net/http puts before a cause.
func plain(err error) error {
	if u := (*url.Error)(nil); errors.As(err, &u) {
		return u.Err
	}
	return err
}

// ascii replaces what may not stand in a header.
func ascii(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 || r > 0x7e {
			return '?'
		}
		return r
	}, s)
}
