// SPDX-License-Identifier: AGPL-3.0-or-later

// Package web is the platform's pages: server-rendered, one layout, forms that
// are posted and answered with 303, everything usable without JavaScript.
//
// It may import the platform's root and stacks/coop/text. It must never touch
// the store, write a posting or decide a rule: it turns requests into use cases
// and their results into pages.
//
// # Routes
//
// Routes, form fields and the data- attributes named here are stable: scripts and
// the walk package drive them. Every POST answers 303 on success, 4xx with a page
// otherwise. Amounts in data- attributes are minor units.
//
//	GET  /healthz                            200 "ok" when the database answers
//	GET  /                                   start page
//	POST /language                           lang (en, es, fr), back
//	GET  /join/{token}, POST                 name, email, password
//	GET  /reset/{token}, POST                password
//	GET  /sign-up, POST                      name, email, password, next
//	GET  /sign-in, POST                      email, password, next
//	POST /sign-out
//
//	GET  /shops                              shops to order from
//	GET  /shops/{shop}                       menu; each item: <li data-item="ID">
//	POST /shops/{shop}/quote                 qty-ITEM…, address, note, tip
//	GET  /quotes/{quote}                     breakdown: <tr data-line="goods|delivery|tip|total|commission|fund|provider|worker" data-amount="N">
//	POST /quotes/{quote}/confirm             makes the order
//	GET  /orders                             the customer's orders
//	GET  /orders/{order}                     status: <main data-state="…">, PIN for the customer: data-pin="NNNN"; ?live=1 reloads by itself
//	POST /orders/{order}/cancel              reason
//	POST /orders/{order}/pin                 another PIN for the customer
//	POST /orders/{order}/return              reason; for the courier, the shop and admins
//
//	GET  /shop                               the merchant's shops
//	POST /shop                               name, address → 303 /shop/{shop}
//	GET  /shop/{shop}                        orders (<li data-order="ID" data-state="…">) and menu; ?live=1
//	POST /shop/{shop}/opening                opening (open, paused)
//	POST /shop/{shop}/items                  name, about, price, available
//	POST /shop/{shop}/items/{item}           name, about, price, available
//	POST /shop/{shop}/orders/{order}/accept
//	POST /shop/{shop}/orders/{order}/refuse  reason
//	GET  /shop/{shop}/statement              the shop's postings
//
//	GET  /courier                            offer (<section data-offer="ID" data-order="ID">) and running jobs; ?live=1
//	POST /courier/availability               online (yes, no)
//	POST /courier/offers/{offer}/accept, /decline
//	POST /courier/orders/{order}/pick-up, /collect
//	POST /courier/orders/{order}/deliver     pin
//	POST /courier/orders/{order}/return      reason
//	GET  /courier/earnings                   the courier's postings
//
//	GET  /members?q=                         <li data-member="ID" data-email="…">
//	POST /members/{member}/roles             role, change (grant, revoke)
//	POST /members/{member}/reset             answers 200 with <code data-link>ADDRESS</code>, since it's shown only once
//	GET  /orders/all                         every order, for admins
//	GET  /settings, POST                     one field per setting key, reason
//	GET  /ledger                             <tr data-balance="KIND" data-unit data-amount>, <tr data-transaction="ID" data-kind data-order>,
//	                                         <tr data-posting data-account="KIND" data-amount data-order>, <p data-balanced="yes|no">
//	GET  /ledger/{transaction}/reverse, POST reason
//	POST /ledger/hand-in                     courier, amount, key
//	GET  /audit                              <main data-audit="good|bad">
package web
