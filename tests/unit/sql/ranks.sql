select usr, n from clicks order by n desc limit 3
select usr, n from clicks order by n nulls first, ts limit 2
select n from clicks where n is not null order by small * -1 limit 2 offset 1
select usr, n as m from clicks where n is not null order by m limit 2
select ts, n from clicks order by 1 limit 3
select usr, sum(n) as t from clicks group by usr order by sum(n) desc, usr limit 2
select usr, count(*) as c from clicks group by usr order by c desc, usr nulls first limit 3
select distinct usr from clicks order by usr limit 2
select usr from clicks union all select usr from users where age > 10 order by usr desc limit 1
select usr, n from clicks qualify row_number() over (partition by usr order by ts desc) <= 1
select usr, n, row_number() over (partition by usr order by ts) as r from clicks qualify r < 3
select usr, n from (select *, row_number() over (partition by usr order by ts) as r from clicks) where r <= 1 and n > 2
select * from (select usr, n, row_number() over (order by ts) as r from clicks) where r <= 3
select lower(usr) as u, n from clicks qualify row_number() over (partition by lower(usr) order by n, ts) = 1
select usr, c from (select usr, count(*) as c from clicks group by usr) order by c, usr limit 2
