select count(*) as a, count(n) as b, count(distinct usr) as c, sum(n) as d, avg(n) as e, mean(n) as f from clicks
select min(usr) as a, max(n) as b, min(price) as c, max(price) as d, max(ts) as e, count(1) as f from clicks
select usr, var_samp(n) as a, stddev(n) as b, var_pop(n) as c, stddev_pop(n) as d from clicks group by usr
select usr, median(n) as a, quantile_cont(n, 0.3) as b from clicks group by usr
select percentile_cont(0.5) within group (order by n) as a from clicks
select arg_min(usr, n) as a, arg_max(page, n) as b, max_by(usr, n) as c from clicks
select usr, bool_and(ok) as a, bool_or(ok) as b, sum(price) as c, any_value(n) as d from clicks group by usr
select count(*) filter (where n > 2) as a, sum(n) filter (where ok) as b, min(n) filter (where n > 99) as c, count_if(n > 2) as d, bool_or(ok) filter (where n > 99) as e from clicks
select usr, count(*) as n_rows from clicks group by usr having count(*) > 1 and sum(n) > -100
select lower(usr) as who, sum(n) + count(*) as t from clicks group by lower(usr)
select lower(usr) as who, sum(n) as t from clicks group by who having t > 2
select n > 2 as big, usr, count(*) as c from clicks group by 1, 2
select upper(usr) || '!' as u, count(*) * 2 + 1 as c from clicks group by usr
select usr from clicks group by usr
select usr, ok, 1 as one, count(*) as c from clicks group by usr, ok
select case when sum(n) > 0 then 'up' else 'down' end as way, clicks.usr from clicks group by clicks.usr
select avg(t) as mean_total from (select usr, sum(n) as t from clicks group by usr)
select t, count(*) as users from (select usr, sum(n) as t from clicks group by usr) group by t
select sum(n) + min(n) as a, sum(n) as b, usr from clicks group by usr having min(n) < 5
select price, count(*) as c from clicks group by price
