-- The demo database: a coffee roastery with a web shop, its people, its warehouses.
-- Tables, types, keys and comments; 20_rows.sql fills them, 30_views.sql looks at them.

DO $comment$
BEGIN
    -- deploy.sh fills it under another name and renames it when it is whole.
    EXECUTE format('COMMENT ON DATABASE %I IS %L', current_database(),
        'Demo data of the postgres tool server: a coffee roastery. Invented, made by deploy.sh.');
END
$comment$;

CREATE SCHEMA shop;
COMMENT ON SCHEMA shop IS 'The web shop: customers, products, orders, payments, reviews.';
CREATE SCHEMA people;
COMMENT ON SCHEMA people IS 'Who works here: departments, employees, absences.';
CREATE SCHEMA logistics;
COMMENT ON SCHEMA logistics IS 'Warehouses, stock, shipments and what happened to them.';
CREATE SCHEMA analytics;
COMMENT ON SCHEMA analytics IS 'Views and summaries for reports; nothing is entered here.';

-- shop -----------------------------------------------------------------------------------------

CREATE TYPE shop.order_status AS ENUM ('new', 'paid', 'shipped', 'delivered', 'cancelled', 'returned');
CREATE TYPE shop.payment_method AS ENUM ('card', 'invoice', 'paypal', 'voucher');

CREATE TABLE shop.countries (
    code char(2) PRIMARY KEY,
    name text NOT NULL,
    vat_rate numeric(4, 3) NOT NULL CHECK (vat_rate BETWEEN 0 AND 0.5)
);
COMMENT ON TABLE shop.countries IS 'Countries that we deliver to.';
COMMENT ON COLUMN shop.countries.vat_rate IS 'Reduced rate for food, as a fraction: 0.070 is 7 %.';

CREATE TABLE shop.customers (
    customer_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    email text NOT NULL UNIQUE CHECK (email LIKE '%@%'),
    full_name text NOT NULL,
    country_code char(2) NOT NULL REFERENCES shop.countries,
    city text,
    registered_at timestamptz NOT NULL,
    newsletter boolean NOT NULL DEFAULT false,
    preferences jsonb NOT NULL DEFAULT '{}'
);
COMMENT ON TABLE shop.customers IS 'People with an account in the web shop.';
COMMENT ON COLUMN shop.customers.preferences IS
    'What the customer chose: {"roast": "light|medium|dark", "grind": text, "tags": [text]}.';

CREATE TABLE shop.categories (
    category_id smallint PRIMARY KEY,
    parent_id smallint REFERENCES shop.categories,
    name text NOT NULL UNIQUE
);
COMMENT ON TABLE shop.categories IS 'A tree: beans have origins below them.';

CREATE TABLE shop.products (
    product_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sku text NOT NULL UNIQUE,
    name text NOT NULL,
    category_id smallint NOT NULL REFERENCES shop.categories,
    price_cents integer NOT NULL CHECK (price_cents > 0),
    weight_g integer NOT NULL CHECK (weight_g > 0),
    attributes jsonb NOT NULL DEFAULT '{}',
    discontinued_on date
);
COMMENT ON TABLE shop.products IS 'What the shop sells, also what it no longer sells.';
COMMENT ON COLUMN shop.products.price_cents IS 'Net price in euro cents, without VAT.';
COMMENT ON COLUMN shop.products.attributes IS
    'Origin, altitude_m, process and flavours of beans; colour and size of equipment.';

CREATE TABLE shop.orders (
    order_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer_id integer NOT NULL REFERENCES shop.customers,
    status shop.order_status NOT NULL DEFAULT 'new',
    ordered_at timestamptz NOT NULL,
    shipped_at timestamptz,
    note text,
    CHECK (shipped_at IS NULL OR shipped_at >= ordered_at)
);
COMMENT ON TABLE shop.orders IS 'One row for each order; its lines are in shop.order_items.';
COMMENT ON COLUMN shop.orders.ordered_at IS 'When the customer pressed the button, in UTC.';

CREATE TABLE shop.order_items (
    order_id bigint NOT NULL REFERENCES shop.orders ON DELETE CASCADE,
    line_number smallint NOT NULL,
    product_id integer NOT NULL REFERENCES shop.products,
    quantity smallint NOT NULL CHECK (quantity BETWEEN 1 AND 100),
    unit_price_cents integer NOT NULL,
    PRIMARY KEY (order_id, line_number)
);
COMMENT ON TABLE shop.order_items IS 'The lines of the orders.';
COMMENT ON COLUMN shop.order_items.unit_price_cents IS
    'Net price on the day of the order; products.price_cents is the one of today.';

CREATE TABLE shop.payments (
    payment_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id bigint NOT NULL REFERENCES shop.orders,
    method shop.payment_method NOT NULL,
    amount_cents integer NOT NULL,
    paid_at timestamptz NOT NULL
);
COMMENT ON TABLE shop.payments IS 'Money that came in; refunds are negative.';

CREATE TABLE shop.reviews (
    review_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    product_id integer NOT NULL REFERENCES shop.products,
    customer_id integer NOT NULL REFERENCES shop.customers,
    stars smallint NOT NULL CHECK (stars BETWEEN 1 AND 5),
    title text,
    body text,
    written_at timestamptz NOT NULL,
    UNIQUE (product_id, customer_id)
);
COMMENT ON TABLE shop.reviews IS 'What customers wrote about products.';

-- people ---------------------------------------------------------------------------------------

CREATE TYPE people.absence_kind AS ENUM ('holiday', 'sickness', 'training');

CREATE TABLE people.departments (
    department_id smallint PRIMARY KEY,
    name text NOT NULL UNIQUE,
    cost_centre char(4) NOT NULL
);
COMMENT ON TABLE people.departments IS 'Departments and the cost centre that pays them.';

CREATE TABLE people.employees (
    employee_id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    full_name text NOT NULL,
    department_id smallint NOT NULL REFERENCES people.departments,
    manager_id integer REFERENCES people.employees,
    hired_on date NOT NULL,
    left_on date,
    salary_eur numeric(9, 2) NOT NULL CHECK (salary_eur > 0),
    skills text[] NOT NULL DEFAULT '{}'
);
COMMENT ON TABLE people.employees IS 'Everybody who works or worked here.';
COMMENT ON COLUMN people.employees.manager_id IS 'Null for the managing director only.';
COMMENT ON COLUMN people.employees.salary_eur IS 'Gross, a year.';

CREATE TABLE people.absences (
    employee_id integer NOT NULL REFERENCES people.employees,
    during daterange NOT NULL,
    kind people.absence_kind NOT NULL,
    PRIMARY KEY (employee_id, during)
);
COMMENT ON TABLE people.absences IS 'Days away; the ranges exclude their upper bound.';

-- logistics ------------------------------------------------------------------------------------

CREATE TABLE logistics.warehouses (
    warehouse_id smallint PRIMARY KEY,
    name text NOT NULL UNIQUE,
    country_code char(2) NOT NULL REFERENCES shop.countries,
    managed_by integer REFERENCES people.employees
);
COMMENT ON TABLE logistics.warehouses IS 'Where goods lie.';

CREATE TABLE logistics.stock (
    warehouse_id smallint NOT NULL REFERENCES logistics.warehouses,
    product_id integer NOT NULL REFERENCES shop.products,
    quantity integer NOT NULL CHECK (quantity >= 0),
    reorder_below integer NOT NULL,
    PRIMARY KEY (warehouse_id, product_id)
);
COMMENT ON TABLE logistics.stock IS 'How much of each product lies in each warehouse.';

CREATE TABLE logistics.shipments (
    shipment_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id bigint NOT NULL REFERENCES shop.orders,
    warehouse_id smallint NOT NULL REFERENCES logistics.warehouses,
    carrier text NOT NULL,
    weight_g integer NOT NULL
);
COMMENT ON TABLE logistics.shipments IS 'Parcels; an order has one at most.';

CREATE TABLE logistics.shipment_events (
    shipment_id bigint NOT NULL REFERENCES logistics.shipments,
    happened_at timestamptz NOT NULL,
    kind text NOT NULL,
    place text,
    PRIMARY KEY (shipment_id, happened_at)
) PARTITION BY RANGE (happened_at);
COMMENT ON TABLE logistics.shipment_events IS
    'What carriers reported about parcels; one partition a quarter, by happened_at.';

DO $partitions$
DECLARE
    first_day date := '2025-01-01';
BEGIN
    WHILE first_day < '2026-07-01' LOOP
        EXECUTE format(
            'CREATE TABLE logistics.%I PARTITION OF logistics.shipment_events FOR VALUES FROM (%L) TO (%L)',
            'shipment_events_' || to_char(first_day, 'YYYY"q"Q'),
            first_day, first_day + interval '3 months'
        );
        first_day := first_day + interval '3 months';
    END LOOP;
END
$partitions$;
CREATE TABLE logistics.shipment_events_later PARTITION OF logistics.shipment_events DEFAULT;
