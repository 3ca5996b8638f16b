module rochdale/backups/restic
