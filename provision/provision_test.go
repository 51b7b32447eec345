package provision

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"filippo.io/age"
	"filippo.io/age/armor"

	"edgegw/secret"
)

const key = "ofk_reg_live_CANARY0123456789"

func TestParse(t *testing.T) {
	for _, row := range []struct{ name, text, want string }{
		{"all columns", "device_id,register_id,kind,label,register_key\npump-01,reg_1,pump,Pump 1," + key + "\n", "2 pump-01 reg_1 pump Pump 1 true"},
		{"two columns", "device_id,register_id\npump-01,reg_1\n", "2 pump-01 reg_1   false"},
		{"any order, any case, spaces", "Register_ID , DEVICE_ID\n reg_1 , pump-01 \n", "2 pump-01 reg_1   false"},
		{"semicolons", "device_id;register_id;label\npump-01;reg_1;a, b\n", "2 pump-01 reg_1  a, b false"},
		{"byte order mark, CR LF", "\xef\xbb\xbfdevice_id,register_id\r\npump-01,reg_1\r\n", "2 pump-01 reg_1   false"},
		{"quotes and a line end in a label", "device_id,register_id,label\npump-01,reg_1,\"a\n\"\"b\"\"\"\npump-02,reg_2,x\n", "2 pump-01 reg_1  a\n\"b\" false|4 pump-02 reg_2  x false"},
		{"an empty line", "device_id,register_id\n\npump-01,reg_1\n", "3 pump-01 reg_1   false"},
	} {
		t.Run(row.name, func(t *testing.T) {
			rows, err := Parse([]byte(row.text))
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, r := range rows {
				if r.Fault != "" {
					t.Errorf("line %d: %s", r.Line, r.Fault)
				}
				got = append(got, fmt.Sprintf("%d %s %s %s %s %v", r.Line, r.Device, r.Register, r.Kind, r.Label, !r.Key.Empty()))
			}
			if s := strings.Join(got, "|"); s != row.want {
				t.Errorf("got  %s\nwant %s", s, row.want)
			}
		})
	}
}

func TestParseRefusesFiles(t *testing.T) {
	for _, row := range []struct{ name, text, want string }{
		{"empty", "", "the file is empty"},
		{"no header", "pump-01,reg_1,pump,Pump," + key + "\n", "line 1: column 1 has an unknown name"},
		{"unknown column", "device_id,register_id,secret\npump-01,reg_1,x\n", "column 3 has an unknown name"},
		{"a column twice", "device_id,register_id,device_id\n", "stands twice"},
		{"no register", "device_id,label\npump-01,x\n", "the column register_id is missing"},
		{"no row", "device_id,register_id\n", "no row"},
		{"not UTF-8", "device_id,register_id\npump-01,reg_1\xff\n", "not UTF-8"},
		{"UTF-16", "d\x00e\x00v\x00", "no text"},
		{"a quote without end", "device_id,register_id,register_key\npump-01,reg_1,\"" + key + "\n", "line 2: this is no CSV"},
		{"too long", "device_id,register_id\n" + strings.Repeat("x", MaxBytes), "longer than"},
		{"too many rows", "device_id,register_id\n" + strings.Repeat("a,b\n", MaxRows+1), "more than 5000 rows"},
	} {
		t.Run(row.name, func(t *testing.T) {
			rows, err := Parse([]byte(row.text))
			var f *Fault
			if !errors.As(err, &f) || !strings.Contains(err.Error(), row.want) || rows != nil {
				t.Errorf("got %v, %d rows", err, len(rows))
			}
			if err != nil && strings.Contains(err.Error(), "CANARY") {
				t.Errorf("a key is shown: %v", err)
			}
		})
	}
}

func TestParseReportsRows(t *testing.T) {
	const head = "device_id,register_id,kind,label,register_key\n"
	for _, row := range []struct{ name, line, want string }{
		{"device id", "Pump 1,reg_1,,,", "device_id must be"},
		{"reserved", "site,reg_1,,,", "device_id must be"},
		{"register id", "pump-01,reg/../1,,,", "register_id must be"},
		{"key as register", "pump-01," + key + ",,,", "register_id must be"},
		{"key as device", key + ",reg_1,,,", "device_id must be"},
		{"key as label", "pump-01,reg_1,pump," + key + ",", "wrong column"},
		{"key within a label", "pump-01,reg_1,pump,my " + key + ",", "wrong column"},
		{"key as kind", "pump-01,reg_1," + key + ",,", "wrong column"},
		{"too few fields", "pump-01,reg_1", "2 fields, the header 5"},
		{"too many fields", "pump-01,reg_1,,,," + key, "6 fields, the header 5"},
	} {
		t.Run(row.name, func(t *testing.T) {
			rows, err := Parse([]byte(head + row.line + "\npump-09,reg_9,,,\n"))
			if err != nil || len(rows) != 2 || rows[0].Line != 2 {
				t.Fatalf("%v, %+v", err, rows)
			}
			if !strings.Contains(rows[0].Fault, row.want) || rows[1].Fault != "" {
				t.Errorf("faults %q and %q", rows[0].Fault, rows[1].Fault)
			}
			if got := fmt.Sprintf("%+v", rows); strings.Contains(got, "CANARY") {
				t.Errorf("a key is shown: %s", got)
			}
		})
	}
	rows, err := Parse([]byte(head + "pump-01,reg_1,,,\npump-01,reg_2,,,\n"))
	if err != nil || rows[0].Fault != "" || rows[1].Fault != "the device stands in line 2 already" {
		t.Errorf("a device twice: %v, %+v", err, rows)
	}
}

func seal(t testing.TB, plain []byte, to string, armored bool) []byte {
	t.Helper()
	r, err := age.ParseX25519Recipient(to)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	var text = armor.NewWriter(&out)
	w, err := age.Encrypt(&out, r)
	if armored {
		out.Reset()
		w, err = age.Encrypt(text, r)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(plain); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if armored {
		if err := text.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

func identity(t testing.TB) (secret.Text, string) {
	t.Helper()
	id, err := NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	to, err := Recipient(id)
	if err != nil || !strings.HasPrefix(to, "age1") {
		t.Fatal(to, err)
	}
	return id, to
}

func TestBundle(t *testing.T) {
	id, to := identity(t)
	other, _ := identity(t)
	csv := []byte("device_id,register_id\n" + strings.Repeat("pump-01,reg_1\n", 9000)) // more than one chunk of age's
	for _, armored := range []bool{false, true} {
		bundle := seal(t, csv, to, armored)
		if !IsBundle(bundle) || IsBundle(csv) {
			t.Errorf("armored %v: a bundle is not told from CSV", armored)
		}
		got, err := Open(bundle, id)
		if err != nil || !bytes.Equal(got, csv) {
			t.Fatalf("armored %v: %v", armored, err)
		}
		var f *Fault
		if _, err := Open(bundle, other); !errors.As(err, &f) || !strings.Contains(err.Error(), "another box") {
			t.Errorf("for another box: %v", err)
		}
		for name, bad := range map[string][]byte{
			"cut in the header": bundle[:60], "cut in the text": bundle[:len(bundle)*2/3], "cut by one": bundle[:len(bundle)-1-len("\n")],
			"a byte changed": flip(bundle, len(bundle)*2/3),
		} {
			if got, err := Open(bad, id); !errors.As(err, &f) || got != nil {
				t.Errorf("armored %v, %s: %d bytes, %v", armored, name, len(got), err)
			}
		}
	}
	if _, err := Open(seal(t, make([]byte, MaxBytes+1), to, false), id); err == nil {
		t.Error("a bundle of any length is read")
	}
	if _, err := Recipient(secret.FromString("AGE-SECRET-KEY-1CANARY")); err == nil || strings.Contains(err.Error(), "CANARY") {
		t.Errorf("a damaged identity: %v", err)
	}
}

func flip(b []byte, at int) []byte {
	c := bytes.Clone(b)
	if c[at] == 'A' {
		c[at] = 'B'
	} else {
		c[at] = 'A'
	}
	return c
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"device_id,register_id,kind,label,register_key\npump-01,reg_1,pump,Pump 1,ofk_reg_live_CANARY\n",
		"device_id;register_id\r\npump-01;reg_1\r\n", "\xef\xbb\xbfdevice_id,register_id\na,b", "device_id,register_id\n\"a\n,b\"\"\",c\n",
		"", "\n", ",", "device_id,register_id\n,\n", "device_id,register_id\nofk_reg_x,ofk_reg_y\n", "device_id,register_id,label\na,b,x ofk_reg_SECRET\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		rows, err := Parse(text)
		if (err == nil) == (len(rows) == 0) {
			t.Fatalf("%d rows and %v", len(rows), err)
		}
		seen := map[string]bool{}
		for _, r := range rows {
			if r.Fault == "" && (!r.Device.Valid() || !r.Register.Valid() || seen[string(r.Device)]) {
				t.Errorf("a row that cannot be used has no fault: %+v", r)
			}
			if r.Fault != "" && !r.Key.Empty() && !strings.Contains(r.Fault, "already") {
				t.Errorf("a row with a fault has a key: %+v", r)
			}
			seen[string(r.Device)] = true
			if strings.Contains(strings.ToLower(string(r.Register)+r.Kind+r.Label+string(r.Device)), "ofk_") && strings.HasPrefix(strings.ToLower(string(r.Register)), "ofk_") {
				t.Errorf("a key stands where it is shown: %+v", r)
			}
			if holdsKey(r.Kind) || holdsKey(r.Label) {
				t.Errorf("a key stands where it is shown: %+v", r)
			}
		}
	})
}

func FuzzOpen(f *testing.F) {
	id, to := identity(f)
	whole := seal(f, []byte("device_id,register_id\npump-01,reg_1\n"), to, false)
	for _, b := range [][]byte{whole, seal(f, []byte("x"), to, true), whole[:40], []byte("age-encryption.org/v1\n-> X25519 a\nb\n--- c\n"), nil, []byte("-----BEGIN AGE ENCRYPTED FILE-----\n")} {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, bundle []byte) {
		text, err := Open(bundle, id)
		if err != nil && text != nil {
			t.Error("half a bundle was given")
		}
		var fault *Fault
		if err != nil && !errors.As(err, &fault) {
			t.Errorf("a bundle is to blame, and not said to be: %v", err)
		}
	})
}
