-- Rows of the demo database, the same on every machine and version: pick() draws from a hash of
-- its arguments, never from a random generator.

CREATE FUNCTION pg_temp.pick(topic text, number bigint, choices integer) RETURNS integer
LANGUAGE sql IMMUTABLE AS $$
    SELECT (('x' || substr(md5(topic || number), 1, 7))::bit(28)::integer % choices)
$$;

CREATE FUNCTION pg_temp.word(words text[], topic text, number bigint) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT words[1 + pg_temp.pick(topic, number, array_length(words, 1))]
$$;

CREATE FUNCTION pg_temp.person(number bigint) RETURNS text
LANGUAGE sql IMMUTABLE AS $$
    SELECT pg_temp.word(
        '{Ada,Bruno,Chiara,Dimitri,Elif,Frida,Goran,Hanna,Imre,Jana,Kofi,Lena,Mateo,Nadia,Omar,Petra,Quentin,Rosa,Sven,Tomás,Ursula,Vera,Wim,Yara,Zoé}',
        'first', number)
    || ' ' || pg_temp.word(
        '{Almeida,Berg,Costa,Dupont,Eriksson,Fischer,García,Horváth,Ivanova,Jensen,Kowalski,Lindqvist,Moreau,Novák,O''Brien,Papadopoulos,Quispe,Rossi,Schmidt,Tanaka,Ünal,Visser,Weiß,Yılmaz,Zimmermann}',
        'last', number)
$$;

INSERT INTO shop.countries VALUES
    ('AT', 'Austria', 0.100), ('BE', 'Belgium', 0.060), ('CH', 'Switzerland', 0.026),
    ('CZ', 'Czechia', 0.120), ('DE', 'Germany', 0.070), ('DK', 'Denmark', 0.250),
    ('ES', 'Spain', 0.100), ('FR', 'France', 0.055), ('IT', 'Italy', 0.100),
    ('NL', 'Netherlands', 0.090), ('PL', 'Poland', 0.050), ('SE', 'Sweden', 0.060);

INSERT INTO shop.categories VALUES
    (1, NULL, 'Beans'), (2, NULL, 'Equipment'), (3, NULL, 'Accessories'),
    (11, 1, 'Africa'), (12, 1, 'Latin America'), (13, 1, 'Asia and Pacific'), (14, 1, 'Blends'),
    (21, 2, 'Grinders'), (22, 2, 'Brewers'), (31, 3, 'Cups'), (32, 3, 'Filters');

INSERT INTO shop.customers (email, full_name, country_code, city, registered_at, newsletter, preferences)
SELECT
    'customer' || n || '@example.com',
    pg_temp.person(n),
    pg_temp.word('{DE,DE,DE,DE,FR,FR,NL,AT,CH,ES,IT,BE,PL,SE,DK,CZ}', 'country', n),
    CASE WHEN pg_temp.pick('no city', n, 12) > 0
         THEN pg_temp.word('{Berlin,Lyon,Utrecht,Graz,Basel,Sevilla,Torino,Gent,Gdańsk,Malmö,Aarhus,Brno}', 'city', n) END,
    timestamptz '2024-01-01 06:00+00' + pg_temp.pick('registered', n, 900) * interval '1 day'
        + pg_temp.pick('registered at', n, 57600) * interval '1 second',
    pg_temp.pick('newsletter', n, 3) = 0,
    jsonb_build_object(
        'roast', pg_temp.word('{light,medium,medium,dark}', 'roast', n),
        'grind', pg_temp.word('{whole,espresso,filter,french press}', 'grind', n),
        'tags', CASE WHEN pg_temp.pick('tags', n, 4) = 0 THEN '["subscriber", "decaf"]'::jsonb
                     WHEN pg_temp.pick('tags', n, 4) = 1 THEN '["office"]' ELSE '[]' END)
FROM generate_series(1, 8000) AS n;

INSERT INTO shop.products (sku, name, category_id, price_cents, weight_g, attributes, discontinued_on)
SELECT
    'KF-' || lpad(n::text, 4, '0'),
    CASE WHEN n <= 180
         THEN pg_temp.word('{Yirgacheffe,Sidamo,Nyeri,Huila,Antigua,Sumatra,Mantiqueira,Kivu,Malabar,Tarrazú,Hausmischung,Espresso Nero}', 'bean', n)
              || ' ' || pg_temp.word('{250 g,500 g,1 kg}', 'bag', n) || ' no. ' || n
         ELSE pg_temp.word('{Hand grinder,Pour-over set,Moka pot,Cup,Paper filters,Kettle,Scale}', 'thing', n) || ' no. ' || n END,
    CASE WHEN n <= 180 THEN 11 + pg_temp.pick('origin', n, 4)
         ELSE (ARRAY[21, 22, 31, 32])[1 + pg_temp.pick('kind', n, 4)] END,
    CASE WHEN n <= 180 THEN 690 + pg_temp.pick('price', n, 2600) ELSE 390 + pg_temp.pick('price', n, 18000) END,
    CASE WHEN n <= 180 THEN (ARRAY[250, 500, 1000])[1 + pg_temp.pick('bag', n, 3)]
         ELSE 80 + pg_temp.pick('weight', n, 2400) END,
    CASE WHEN n <= 180
         THEN jsonb_build_object(
             'altitude_m', 900 + 50 * pg_temp.pick('altitude', n, 26),
             'process', pg_temp.word('{washed,natural,honey}', 'process', n),
             'flavours', jsonb_build_array(
                 pg_temp.word('{chocolate,caramel,nuts,berries}', 'flavour', n),
                 pg_temp.word('{citrus,jasmine,plum,honey}', 'second flavour', n)))
         ELSE jsonb_build_object('colour', pg_temp.word('{black,white,steel,blue}', 'colour', n)) END,
    CASE WHEN pg_temp.pick('gone', n, 15) = 0 THEN date '2026-01-01' + pg_temp.pick('gone on', n, 150) END
FROM generate_series(1, 240) AS n;

INSERT INTO shop.orders (customer_id, status, ordered_at, shipped_at, note)
SELECT
    -- Squared, so that some customers order often and many hardly ever.
    1 + (pg_temp.pick('customer', n, 8000)::bigint * pg_temp.pick('customer', n, 8000) / 8000),
    status,
    ordered_at,
    CASE WHEN status IN ('shipped', 'delivered', 'returned')
         THEN ordered_at + (6 + pg_temp.pick('shipping', n, 70)) * interval '1 hour' END,
    CASE WHEN pg_temp.pick('note', n, 40) = 0 THEN 'Please leave it with the neighbours.' END
FROM (
    SELECT n,
        timestamptz '2025-01-02 05:00+00' + n * interval '25 minutes 40 seconds'
            + pg_temp.pick('minute', n, 1500) * interval '1 second' AS ordered_at,
        CASE WHEN n > 29700 THEN pg_temp.word('{new,new,paid,shipped}', 'status', n)
             ELSE pg_temp.word('{delivered,delivered,delivered,delivered,delivered,delivered,delivered,delivered,delivered,delivered,delivered,delivered,shipped,paid,cancelled,returned}', 'status', n)
        END::shop.order_status AS status
    FROM generate_series(1, 30000) AS n
) AS drawn
ORDER BY n;

INSERT INTO shop.order_items
SELECT order_id, line, product_id, 1 + pg_temp.pick('quantity', order_id * 10 + line, 4),
    -- Prices rose by 4 % at the beginning of 2026.
    CASE WHEN ordered_at < '2026-01-01' THEN round(price_cents / 1.04)::integer ELSE price_cents END
FROM shop.orders
CROSS JOIN LATERAL generate_series(1, 1 + pg_temp.pick('lines', order_id, 4)) AS line
JOIN shop.products ON product_id = 1 + pg_temp.pick('product', order_id * 10 + line, 240);

INSERT INTO shop.payments (order_id, method, amount_cents, paid_at)
SELECT order_id, pg_temp.word('{card,card,card,paypal,paypal,invoice,voucher}', 'method', order_id)::shop.payment_method,
    total, ordered_at + pg_temp.pick('paid', order_id, 200) * interval '1 minute'
FROM shop.orders
JOIN (SELECT order_id, sum(quantity * unit_price_cents) AS total FROM shop.order_items GROUP BY order_id) AS sums
    USING (order_id)
WHERE status NOT IN ('new', 'cancelled')
ORDER BY order_id;

INSERT INTO shop.payments (order_id, method, amount_cents, paid_at)
SELECT order_id, method, -amount_cents, paid_at + interval '16 days'
FROM shop.payments JOIN shop.orders USING (order_id)
WHERE status = 'returned'
ORDER BY order_id;

INSERT INTO shop.reviews (product_id, customer_id, stars, title, body, written_at)
SELECT product_id, customer_id, stars,
    (ARRAY['Not for me', 'Meh', 'Decent', 'Very good', 'Best coffee ever'])[stars],
    CASE WHEN pg_temp.pick('long', order_id, 3) > 0
         THEN (ARRAY['Arrived late and tasted flat.', 'Expected more for this price.', 'Does what it should.',
                     'We drink it in the office every day.', 'Notes of chocolate and berries, as promised!'])[stars] END,
    ordered_at + (7 + pg_temp.pick('review', order_id, 20)) * interval '1 day'
FROM (
    SELECT DISTINCT ON (product_id, customer_id) product_id, customer_id, order_id, ordered_at,
        (ARRAY[1, 2, 3, 4, 4, 4, 5, 5, 5, 5])[1 + pg_temp.pick('stars', order_id, 10)] AS stars
    FROM shop.order_items JOIN shop.orders USING (order_id)
    WHERE line_number = 1 AND status = 'delivered' AND pg_temp.pick('reviews', order_id, 4) = 0
    ORDER BY product_id, customer_id, order_id
) AS written
ORDER BY order_id;

INSERT INTO people.departments VALUES
    (1, 'Management', '1000'), (2, 'Roastery', '2000'), (3, 'Web shop', '3000'),
    (4, 'Logistics', '4000'), (5, 'Finance', '5000');

INSERT INTO people.employees (full_name, department_id, manager_id, hired_on, left_on, salary_eur, skills)
SELECT pg_temp.person(n + 50000),
    CASE WHEN n = 1 THEN 1 ELSE 1 + pg_temp.pick('department', n, 5) END,
    -- Each manages four others: 1 manages 2 to 5, 2 manages 6 to 9, and so on.
    CASE WHEN n > 1 THEN (n + 2) / 4 END,
    date '2014-03-01' + pg_temp.pick('hired', n, 4300),
    CASE WHEN n > 20 AND pg_temp.pick('left', n, 8) = 0 THEN date '2026-02-01' + pg_temp.pick('left on', n, 120) END,
    28000 + 250 * pg_temp.pick('salary', n, 120) + CASE WHEN n <= 5 THEN 40000 ELSE 0 END,
    ARRAY[pg_temp.word('{roasting,cupping,packing,driving}', 'skill', n), pg_temp.word('{sql,excel,photography,first aid}', 'skill 2', n)]
FROM generate_series(1, 120) AS n;

INSERT INTO people.absences
SELECT n, daterange(day, day + 1 + pg_temp.pick('days', n * 10 + turn, 12)),
    pg_temp.word('{holiday,holiday,sickness,training}', 'absence', n * 10 + turn)::people.absence_kind
FROM generate_series(1, 120) AS n
CROSS JOIN generate_series(0, 7) AS turn
CROSS JOIN LATERAL (SELECT date '2025-01-07' + 62 * turn + pg_temp.pick('away', n * 10 + turn, 40) AS day) AS days;

INSERT INTO logistics.warehouses VALUES
    (1, 'Leipzig', 'DE', 12), (2, 'Metz', 'FR', 17), (3, 'Eindhoven', 'NL', NULL);

INSERT INTO logistics.stock
SELECT warehouse_id, product_id, pg_temp.pick('stock', product_id * 10 + warehouse_id, 400),
    20 + 5 * pg_temp.pick('reorder', product_id, 8)
FROM logistics.warehouses CROSS JOIN shop.products;

INSERT INTO logistics.shipments (order_id, warehouse_id, carrier, weight_g)
SELECT order_id, 1 + pg_temp.pick('warehouse', order_id, 3),
    pg_temp.word('{DHL,DHL,GLS,DPD,UPS}', 'carrier', order_id), weight
FROM shop.orders
JOIN (SELECT order_id, sum(quantity * weight_g)::integer AS weight
      FROM shop.order_items JOIN shop.products USING (product_id) GROUP BY order_id) AS weights
    USING (order_id)
WHERE shipped_at IS NOT NULL
ORDER BY order_id;

INSERT INTO logistics.shipment_events
SELECT shipment_id, shipped_at + hours * interval '1 hour' + pg_temp.pick('event', shipment_id * 10 + step, 3000) * interval '1 second',
    kind,
    CASE WHEN step > 1 THEN pg_temp.word('{Hannover,Strasbourg,Köln,Nürnberg,Lille,Praha}', 'place', shipment_id * 10 + step) END
FROM logistics.shipments
JOIN shop.orders USING (order_id)
CROSS JOIN (VALUES (1, 0, 'handed over'), (2, 9, 'sorted'), (3, 20, 'in transit'), (4, 43, 'out for delivery'), (5, 49, 'delivered'))
    AS steps (step, hours, kind)
WHERE step < 5 OR status IN ('delivered', 'returned');
