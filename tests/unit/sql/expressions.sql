n + 1, n - small, n * 2, n / 4, n // 2, -n // 2, n // -2, n % 4, -n % 4, n % -4, mod(n, 3), n ** 2, -n
abs(n), round(price), round(price * 1.25, 1), round(n / 8, 2), floor(price), ceil(price), trunc(price), sqrt(abs(n)), exp(small / 10)
ln(n * n + 1), log(n * n + 1), log2(n * n + 1), log10(n * n + 1), sign(n), isnan(price), greatest(n, small, 4), least(n, small)
n = 5, n <> 5, n != 5, n < small, n <= small, n > 2.5, n >= 3, price = price, price > 1e9, usr = 'ann', usr < 'b'
n = 5 and ok, n = 5 or ok, not ok, ok and not (n > 3), n > 3 and small < 3 or ok, not (n > 3 or ok is null)
n between 0 and 5, n not between small and 5, usr between 'a' and 'b'
n in (3, 5), n not in (3, 5), n in (3, null), n not in (3, null), n in (small, small + 4, 12), usr in ('ann', 'cid'), 'x' in (usr, 'y')
n is null, n is not null, ok is true, ok is not true, ok is false, n is distinct from small, n is not distinct from 5
case when n > 3 then 'big' when n < 0 then 'neg' else 'mid' end, case when n > 3 then n end, case usr when 'ann' then 1 when 'bob' then 2 end
if(ok, n, small), coalesce(n, small, 0), ifnull(usr, '?'), nullif(n, 5), nullif(usr, 'ann')
usr || page, usr || n, usr || ok, concat(usr, '-', n), concat_ws('/', usr, page, n), lower(usr), upper(usr), length(page), len(usr)
substr(page, 2), substr(page, 1, 2), substr(page, 0, 2), substr(page, -2), substr(page, -2, 1), substr(page, -9, 3), substring(page from 2 for 1)
left(page, 2), right(page, 2), left(page, -1), trim(page), ltrim(page), rtrim(page), trim(page, '/a'), replace(page, '/', '::'), replace(page, '', 'x')
usr like 'a%', usr like '%n', usr like '%n%', usr like 'ann', page like '/_', page like '%/b%', page like '/c_x', page not like '/a%', usr ilike 'A%', page like '/b%x'
starts_with(page, '/'), prefix(page, '/a'), suffix(page, 'a'), ends_with(page, 'a'), contains(page, 'b'), regexp_matches(page, '[ab]$'), regexp_extract(page, '/(.)', 1)
split(page, '/'), string_split(usr, 'n'), split_part(page, '/', 2), split_part(page, '/', -1), split_part(page, '/', 9)
tags[1], tags[-1], tags[0], tags[7], len(tags), array_length(nums), list_contains(nums, 3), list_sum(nums), list_min(nums), list_max(nums), array_to_string(tags, '+')
geo.city, geo.at.lat, clicks.geo.city, clicks.geo.at.lat, geo['city'], struct_extract(geo, 'city'), GEO.CITY
year(ts), quarter(ts), month(ts), day(ts), hour(ts), minute(ts), second(ts), millisecond(ts), microsecond(ts), week(ts), dayofweek(ts), isodow(ts), dayofyear(ts)
extract(year from ts), extract(dow from ts), date_part('hour', ts), extract(epoch from ts), epoch(ts), epoch_ms(ts), epoch_us(ts), year(day), epoch_ms(n)
date_trunc('minute', ts), date_trunc('hour', ts), date_trunc('day', ts), date_trunc('week', ts), date_trunc('month', ts), date_trunc('year', ts), date_trunc('month', day)
time_bucket(interval '5 minutes', ts), strftime(ts, '%Y/%m/%d %H'), strptime(strftime(ts, '%Y-%m-%d %H:%M'), '%Y-%m-%d %H:%M')
ts + interval '90 seconds', ts - interval 1 hour, ts >= '2026-03-14 10:00:00', ts = timestamp '2026-03-14 09:59:30', day < '2026-01-04', day = date '2026-01-02'
ts between '2026-03-14 09:59:31' and '2026-03-14 10:00:30', ts - timestamp '2026-03-14 09:00:00' > interval '1 hour'
cast(n as double), n::varchar, cast(price * 2 as bigint), cast(n / 4 as int), ok::int, n::boolean, cast(usr as varchar), cast('12' as int), cast('2026-01-02' as date), ts::date
try_cast(usr as int), cast(n as smallint), cast(strftime(ts, '%Y-%m-%d') as date), 1, 'it''s', 2.5, true, 1e3, -3, n & 3, n | 8, (n)
