"""The answers: each of the queries as SQL of DuckDB over whole tables, written apart from the programs.

Prices are averaged as a sum over a count, in doubles: ``avg`` rounds twice, and so differs in the last bit at times.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_VALID: Final = """
    SELECT a.id, a.category, a.seller, a.expires, max(b.price) AS final
    FROM auctions a JOIN bids b ON b.auction = a.id AND b.date_time BETWEEN a.date_time AND a.expires
    GROUP BY ALL
"""

_COUNTS: Final = """
    count(*) AS total_bids,
    count(*) FILTER (price < 10000) AS rank1_bids,
    count(*) FILTER (price >= 10000 AND price < 1000000) AS rank2_bids,
    count(*) FILTER (price >= 1000000) AS rank3_bids
"""

_STATISTICS: Final = f"""
    {_COUNTS},
    count(DISTINCT bidder) AS total_bidders,
    count(DISTINCT bidder) FILTER (price < 10000) AS rank1_bidders,
    count(DISTINCT bidder) FILTER (price >= 10000 AND price < 1000000) AS rank2_bidders,
    count(DISTINCT bidder) FILTER (price >= 1000000) AS rank3_bidders,
    count(DISTINCT auction) AS total_auctions,
    count(DISTINCT auction) FILTER (price < 10000) AS rank1_auctions,
    count(DISTINCT auction) FILTER (price >= 10000 AND price < 1000000) AS rank2_auctions,
    count(DISTINCT auction) FILTER (price >= 1000000) AS rank3_auctions
"""

ANSWERS: Final[Mapping[str, str]] = {
    "q0": "SELECT auction, bidder, price, date_time, extra FROM bids",
    "q1": "SELECT auction, bidder, price * 0.908::DOUBLE AS price, date_time, extra FROM bids",
    "q2": "SELECT auction, price FROM bids WHERE auction % 123 = 0",
    "q3": """
        SELECT p.name, p.city, p.state, a.id AS auction
        FROM auctions a JOIN persons p ON a.seller = p.id
        WHERE a.category = 10 AND p.state IN ('OR', 'ID', 'CA')
    """,
    "q4": f"SELECT category, sum(final)::DOUBLE / count(*) AS average FROM ({_VALID}) GROUP BY category",
    "q5": """
        WITH numbered AS (
            SELECT auction, epoch_us(date_time) // 2000000 - unnest([0, 1, 2, 3, 4]) AS number FROM bids
        ),
        counts AS (SELECT auction, number, count(*) AS bids FROM numbered GROUP BY ALL)
        SELECT
            auction, bids,
            make_timestamptz(number * 2000000) AS window_start,
            make_timestamptz(number * 2000000 + 10000000) AS window_end
        FROM counts
        QUALIFY bids = max(bids) OVER (PARTITION BY number)
    """,
    "q6": f"""
        SELECT seller, sum(final)::DOUBLE / count(*) AS average
        FROM (
            SELECT seller, final FROM ({_VALID})
            QUALIFY row_number() OVER (PARTITION BY seller ORDER BY expires DESC, id DESC) <= 10
        )
        GROUP BY seller
    """,
    "q7": """
        WITH numbered AS (SELECT *, epoch_us(date_time) // 10000000 AS number FROM bids),
        highest AS (SELECT number, max(price) AS price FROM numbered GROUP BY number)
        SELECT auction, bidder, price, date_time, extra, make_timestamptz(number * 10000000 + 10000000) AS window_end
        FROM numbered JOIN highest USING (number, price)
    """,
    "q8": """
        WITH users AS (SELECT DISTINCT id, name, epoch_us(date_time) // 10000000 AS number FROM persons),
        sellers AS (SELECT DISTINCT seller AS id, epoch_us(date_time) // 10000000 AS number FROM auctions)
        SELECT id, name, make_timestamptz(number * 10000000) AS window_start FROM users JOIN sellers USING (id, number)
    """,
    "q9": """
        SELECT
            a.id AS auction, item_name, description, initial_bid, reserve, a.date_time, expires, seller, category,
            a.extra, bidder, price, b.date_time AS bid_date_time, b.extra AS bid_extra
        FROM auctions a JOIN bids b ON b.auction = a.id AND b.date_time BETWEEN a.date_time AND a.expires
        QUALIFY row_number() OVER (PARTITION BY a.id ORDER BY price DESC, b.date_time) = 1
    """,
    "q10": """
        SELECT
            auction, bidder, price, date_time, extra,
            strftime(date_time, '%Y-%m-%d') AS day, strftime(date_time, '%H:%M') AS minute
        FROM bids
    """,
    "q11": """
        WITH marked AS (
            SELECT
                bidder, date_time,
                coalesce(date_time - lag(date_time) OVER person >= INTERVAL 10 SECOND, true) AS begins
            FROM bids
            WINDOW person AS (PARTITION BY bidder ORDER BY date_time)
        ),
        numbered AS (
            SELECT
                bidder, date_time,
                sum(begins::INT) OVER (PARTITION BY bidder ORDER BY date_time ROWS UNBOUNDED PRECEDING) AS number
            FROM marked
        )
        SELECT
            bidder, min(date_time) AS window_start, max(date_time) + INTERVAL 10 SECOND AS window_end, count(*) AS bids
        FROM numbered
        GROUP BY bidder, number
    """,
    "q12": """
        SELECT
            bidder,
            make_timestamptz(epoch_us(date_time) // 10000000 * 10000000) AS window_start,
            make_timestamptz(epoch_us(date_time) // 10000000 * 10000000 + 10000000) AS window_end,
            count(*) AS bids
        FROM bids
        GROUP BY ALL
    """,
    "q13": """
        SELECT auction, bidder, price, date_time, value FROM bids JOIN side ON side.key = bids.auction % 10000
    """,
    "q14": """
        SELECT
            auction, bidder, price * 0.908::DOUBLE AS price, date_time, extra,
            CASE
                WHEN hour(date_time) BETWEEN 8 AND 18 THEN 'dayTime'
                WHEN hour(date_time) <= 6 OR hour(date_time) >= 20 THEN 'nightTime'
                ELSE 'otherTime'
            END AS bid_time_type,
            length(extra) - length(replace(extra, 'c', '')) AS c_counts
        FROM bids
        WHERE price * 0.908::DOUBLE > 1000000 AND price * 0.908::DOUBLE < 50000000
    """,
    "q15": f"SELECT strftime(date_time, '%Y-%m-%d') AS day, {_STATISTICS} FROM bids GROUP BY day",
    "q16": f"""
        SELECT
            channel, strftime(date_time, '%Y-%m-%d') AS day, max(strftime(date_time, '%H:%M')) AS minute, {_STATISTICS}
        FROM bids
        GROUP BY channel, day
    """,
    "q17": f"""
        SELECT
            auction, strftime(date_time, '%Y-%m-%d') AS day, {_COUNTS}, min(price) AS least, max(price) AS greatest,
            sum(price)::DOUBLE / count(*) AS average, sum(price)::BIGINT AS total
        FROM bids
        GROUP BY auction, day
    """,
    "q18": """
        SELECT auction, bidder, price, date_time, extra FROM bids
        QUALIFY row_number() OVER (PARTITION BY bidder, auction ORDER BY date_time DESC) = 1
    """,
    "q19": """
        SELECT
            auction, bidder, price, date_time, extra,
            row_number() OVER (PARTITION BY auction ORDER BY price DESC, date_time) AS rank
        FROM bids
        QUALIFY rank <= 10
    """,
    "q20": """
        SELECT
            auction, bidder, price, channel, url, b.date_time, b.extra, item_name, description, initial_bid, reserve,
            a.date_time AS auction_date_time, expires, seller, category, a.extra AS auction_extra
        FROM bids b JOIN auctions a ON b.auction = a.id
        WHERE category = 10
    """,
    "q21": r"""
        SELECT
            auction, bidder, price, channel,
            CASE lower(channel)
                WHEN 'apple' THEN '0' WHEN 'google' THEN '1' WHEN 'facebook' THEN '2' WHEN 'baidu' THEN '3'
                ELSE regexp_extract(url, '(&|^)channel_id=([^&]*)', 2)
            END AS channel_id
        FROM bids
        WHERE
            regexp_matches(url, '(&|^)channel_id=([^&]*)')
            OR lower(channel) IN ('apple', 'google', 'facebook', 'baidu')
    """,
    "q22": """
        SELECT
            auction, bidder, price, channel,
            split_part(url, '/', 4) AS dir1, split_part(url, '/', 5) AS dir2, split_part(url, '/', 6) AS dir3
        FROM bids
    """,
}
