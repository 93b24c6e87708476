-- Indexes, functions and views of the demo database.

CREATE INDEX orders_customer ON shop.orders (customer_id, ordered_at DESC);
CREATE INDEX orders_open ON shop.orders (ordered_at) WHERE status IN ('new', 'paid');
CREATE INDEX order_items_product ON shop.order_items (product_id);
CREATE INDEX payments_order ON shop.payments (order_id);
CREATE INDEX customers_name ON shop.customers (lower(full_name));
CREATE INDEX customers_preferences ON shop.customers USING gin (preferences jsonb_path_ops);
CREATE INDEX shipments_order ON logistics.shipments (order_id);
CREATE INDEX shipment_events_kind ON logistics.shipment_events (kind, happened_at);
-- Two that a health check should find: one that repeats payments_order, one that nobody asks for.
CREATE INDEX payments_order_again ON shop.payments (order_id);
CREATE INDEX customers_city_unused ON shop.customers (city, newsletter);

CREATE FUNCTION shop.gross_cents(net_cents bigint, country_code char(2)) RETURNS bigint
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT round(net_cents * (1 + vat_rate))::bigint
    FROM shop.countries WHERE code = country_code
$$;
COMMENT ON FUNCTION shop.gross_cents IS 'Add the VAT of a country to a net amount in cents.';

CREATE FUNCTION shop.order_total_cents(wanted bigint) RETURNS bigint
LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT coalesce(sum(quantity * unit_price_cents), 0)::bigint
    FROM shop.order_items WHERE order_id = wanted
$$;
COMMENT ON FUNCTION shop.order_total_cents IS 'Return the net total of one order in cents.';

CREATE FUNCTION shop.cancel_order(wanted bigint) RETURNS void
LANGUAGE sql VOLATILE AS $$
    UPDATE shop.orders SET status = 'cancelled' WHERE order_id = wanted AND status = 'new'
$$;
COMMENT ON FUNCTION shop.cancel_order IS 'Cancel an order that is not paid yet. This one writes.';

CREATE VIEW analytics.order_totals AS
SELECT order_id, customer_id, status, ordered_at, count(*) AS lines,
    sum(quantity * unit_price_cents) AS net_cents
FROM shop.orders JOIN shop.order_items USING (order_id)
GROUP BY order_id;
COMMENT ON VIEW analytics.order_totals IS 'Each order with its number of lines and net total.';

CREATE VIEW analytics.low_stock AS
SELECT w.name AS warehouse, p.sku, p.name, s.quantity, s.reorder_below
FROM logistics.stock AS s
JOIN logistics.warehouses AS w USING (warehouse_id)
JOIN shop.products AS p USING (product_id)
WHERE s.quantity < s.reorder_below AND p.discontinued_on IS NULL;
COMMENT ON VIEW analytics.low_stock IS 'What has to be ordered again, by warehouse.';

CREATE VIEW people.directory AS
SELECT e.employee_id, e.full_name, d.name AS department, m.full_name AS manager
FROM people.employees AS e
JOIN people.departments AS d USING (department_id)
LEFT JOIN people.employees AS m ON m.employee_id = e.manager_id
WHERE e.left_on IS NULL;
COMMENT ON VIEW people.directory IS 'Who works here now, without salaries.';

CREATE MATERIALIZED VIEW analytics.monthly_revenue AS
SELECT date_trunc('month', ordered_at AT TIME ZONE 'UTC')::date AS month, c.country_code,
    count(DISTINCT order_id) AS orders, sum(quantity * unit_price_cents) AS net_cents
FROM shop.orders
JOIN shop.order_items USING (order_id)
JOIN shop.customers AS c USING (customer_id)
WHERE status NOT IN ('cancelled', 'returned')
GROUP BY 1, 2;
CREATE UNIQUE INDEX monthly_revenue_key ON analytics.monthly_revenue (month, country_code);
COMMENT ON MATERIALIZED VIEW analytics.monthly_revenue IS
    'Net revenue by month and country, without cancelled and returned orders.';
