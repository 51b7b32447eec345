package main

import (
	"fmt"

	"edgegw/admin"
)

type acknowledgeCmd struct {
	JSON bool `help:"Print JSON."`
}

// Run says that a person knows what became of the database.
func (c *acknowledgeCmd) Run(a *app) error {
	return a.with(false, func(b admin.Backend) error {
		n, err := b.Acknowledge(a.ctx, admin.LocalUser())
		if err != nil {
			return err
		}
		if c.JSON {
			return a.printJSON(struct {
				Acknowledged int `json:"acknowledged"`
			}{n})
		}
		if n == 0 {
			fmt.Fprintln(a.out, "There is nothing to acknowledge: the database was not made again.")
			return nil
		}
		fmt.Fprintln(a.out, "It is written down that you know what became of the database.")
		return nil
	})
}
